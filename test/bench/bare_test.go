package bench

// What a program without Den does: SQLite through its driver's connection, with prepared
// statements and one transaction for many rows.

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// A bareTable is the todos' table in a database of its own.
type bareTable struct {
	b       *testing.B
	conn    *sql.Conn
	alone   driver.StmtExecContext // inserts into a table like that of a room, WITHOUT ROWID
	n       int
	replies int // bytes, so that none is optimised away
}

func openBare(b *testing.B) *bareTable {
	b.Helper()
	conn, err := sameRows(b, 0, "").Conn(context.Background())
	if err == nil {
		_, err = conn.ExecContext(context.Background(), `PRAGMA synchronous=NORMAL`)
	}
	t := &bareTable{b: b, conn: conn}
	if err == nil {
		err = t.prepareAlone()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return t
}

func (t *bareTable) prepareAlone() error {
	ctx := context.Background()
	_, err := t.conn.ExecContext(ctx, `CREATE TABLE alone (id TEXT NOT NULL PRIMARY KEY, text TEXT NOT NULL, completed INTEGER NOT NULL,
		created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, deleted_at INTEGER) STRICT, WITHOUT ROWID`)
	if err != nil {
		return err
	}
	return t.conn.Raw(func(raw any) error {
		s, err := raw.(driver.ConnPrepareContext).PrepareContext(ctx, `INSERT INTO alone VALUES (?, ?, ?, ?, ?, NULL)`)
		if err == nil {
			t.alone = s.(driver.StmtExecContext)
			t.b.Cleanup(func() { s.Close() })
		}
		return err
	})
}

// insertAlone inserts one row, in a transaction of its own.
func (t *bareTable) insertAlone() {
	t.n++
	args := rowArgs()
	args[0].Value = fmt.Sprintf("t%07d", t.n)
	if _, err := t.alone.ExecContext(context.Background(), args); err != nil {
		t.b.Fatal(err)
	}
}

// insert adds rows in one transaction.
func (t *bareTable) insert(rows int) {
	t.transaction(func(insert, _, _ driver.StmtExecContext) error {
		args := rowArgs()
		for range rows {
			t.n++
			args[0].Value = fmt.Sprintf("t%07d", t.n)
			if _, err := insert.ExecContext(context.Background(), args); err != nil {
				return err
			}
		}
		return nil
	})
}

// apply does what messages of [create] ask for in one transaction, each in a savepoint,
// and encodes a reply to each.
func (t *bareTable) apply(messages [][]byte) {
	ctx := context.Background()
	t.transaction(func(insert, savepoint, release driver.StmtExecContext) error {
		args := rowArgs()
		for _, m := range messages {
			var in struct {
				ID, Channel string
				Action      struct {
					Type    string
					Payload struct {
						ID, Text  string
						Completed int64
					}
				}
			}
			if err := json.Unmarshal(m, &in); err != nil {
				return err
			}
			args[0].Value, args[1].Value, args[2].Value = in.Action.Payload.ID, in.Action.Payload.Text, in.Action.Payload.Completed
			for _, step := range []struct {
				statement driver.StmtExecContext
				args      []driver.NamedValue
			}{{savepoint, nil}, {insert, args}, {release, nil}} {
				if _, err := step.statement.ExecContext(ctx, step.args); err != nil {
					return err
				}
			}
			row := []any{args[0].Value, args[1].Value, args[2].Value, args[3].Value, args[4].Value, nil}
			reply, err := json.Marshal(map[string]any{"type": "success", "rpc": true, "channel": in.Channel, "id": in.ID, "result": [][]any{row}})
			if err != nil {
				return err
			}
			t.replies += len(reply)
		}
		return nil
	})
}

// rowArgs are the arguments of the insert but for the id.
func rowArgs() []driver.NamedValue {
	now := time.Now().UnixMilli()
	return []driver.NamedValue{{Ordinal: 1}, {Ordinal: 2, Value: text}, {Ordinal: 3, Value: int64(0)}, {Ordinal: 4, Value: now}, {Ordinal: 5, Value: now}}
}

// transaction does work in a transaction of its own, with its statements prepared.
func (t *bareTable) transaction(work func(insert, savepoint, release driver.StmtExecContext) error) {
	ctx := context.Background()
	err := t.conn.Raw(func(raw any) error {
		conn := raw.(interface {
			driver.ConnBeginTx
			driver.ConnPrepareContext
		})
		tx, err := conn.BeginTx(ctx, driver.TxOptions{})
		if err != nil {
			return err
		}
		var statements [3]driver.StmtExecContext
		for i, text := range []string{
			`INSERT INTO todos (id, text, completed, created_at, updated_at, deleted_at) VALUES (?, ?, ?, ?, ?, NULL)`,
			`SAVEPOINT action`, `RELEASE action`,
		} {
			s, err := conn.PrepareContext(ctx, text)
			if err != nil {
				return err
			}
			defer s.Close()
			statements[i] = s.(driver.StmtExecContext)
		}
		if err := work(statements[0], statements[1], statements[2]); err != nil {
			return err
		}
		return tx.Commit()
	})
	if err != nil {
		t.b.Fatal(err)
	}
}
