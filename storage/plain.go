package storage

// What a new room begins with as long as its kind has no template: Den's own tables, and nothing else. It is made in SQLite's
// memory, without a file, so that the first room of a kind, and one whose preparation may be different from others', can begin in
// memory too (logonly.go).

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/internal/template"
	"github.com/denrooms/den/storage/roomfile"
)

// beginning is what the files of the kind begin with: its template, or Den's own tables.
func (o Options) beginning() (*template.Template, error) {
	p := o.Pool
	if p == nil {
		return plainTemplate(o)
	}
	if t := p.template.Load(); t != nil {
		return t, nil
	}
	if t := p.plain.Load(); t != nil {
		return t, nil
	}
	t, err := plainTemplate(o)
	if err == nil {
		p.plain.Store(t)
	}
	return t, err
}

// plainTemplate makes the template that has Den's own tables.
func plainTemplate(o Options) (t *template.Template, err error) {
	d, err := connect(o, "", ":memory:")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.sql.Conn.ReserveBytes(dbfile.ReservedBytes); err != nil {
		return nil, failed(err)
	}
	script := fmt.Sprintf(`PRAGMA page_size = %d; BEGIN; PRAGMA application_id = %d; PRAGMA user_version = %d; %s; COMMIT`,
		pageSize, roomfile.ApplicationID, roomfile.Version, layout)
	if _, err := d.sql.Exec(session.Own, script, nil); err != nil {
		return nil, err
	}
	return template.Take(&d.sql, d.notes.all()) // which is not nil: each of Den's own tables fits into a page
}
