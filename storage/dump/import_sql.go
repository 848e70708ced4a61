package dump

// Reading a script of SQL statement by statement. A statement ends at a semicolon, and a CREATE TRIGGER at the semicolon after
// END, as sqlite3_complete says. The states are those of SQLite's complete.c.

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/denrooms/den/storage"
)

func (im *importer) readSQL() error {
	s := splitter{from: im.from}
	ours, begun, ended := false, false, false
	for number := 1; ; number++ {
		sql, err := s.next()
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		header, err := im.scriptHeader(sql)
		if err != nil {
			return err
		}
		ours = ours || header
		if end {
			break
		}
		switch word := firstWord(sql); word {
		case "BEGIN":
			begun, ended = true, false
		case "COMMIT", "END":
			ended = true
		case "ROLLBACK":
			return fmt.Errorf("%w: the script takes itself back, so it was not written whole", ErrFormat)
		case "PRAGMA", "ANALYZE", "SAVEPOINT", "RELEASE":
		default:
			if err := im.exec(sql); err != nil {
				return fmt.Errorf("statement %d of the script: %w", number, err)
			}
		}
	}
	if (begun || ours) && !ended {
		return fmt.Errorf("%w: there is no COMMIT at the end: the script is cut off", ErrFormat)
	}
	return nil
}

// scriptHeader reads the header of Den's own scripts, which is a comment before the first statement.
func (im *importer) scriptHeader(sql string) (found bool, err error) {
	text, found := strings.CutPrefix(strings.TrimLeft(sql, " \t\r\n"), headerMark)
	if !found {
		return false, nil
	}
	line, _, _ := strings.Cut(text, "\n")
	var h exportHeader
	if err := json.Unmarshal([]byte(line), &h); err != nil {
		return false, fmt.Errorf("%w: the header: %w", ErrFormat, err)
	}
	if err := h.check(); err != nil {
		return false, err
	}
	return true, im.internal(h.Internal)
}

// firstWord returns the first word of a statement in upper case.
func firstWord(sql string) string {
	for {
		sql = strings.TrimLeft(sql, " \t\r\n\f;")
		switch {
		case strings.HasPrefix(sql, "--"):
			_, sql, _ = strings.Cut(sql, "\n")
		case strings.HasPrefix(sql, "/*"):
			_, sql, _ = strings.Cut(sql, "*/")
		default:
			end := 0
			for end < len(sql) && end < 16 && wordByte(sql[end]) {
				end++
			}
			return strings.ToUpper(sql[:end])
		}
	}
}

func wordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// A token is a kind of token that the splitter distinguishes.
type token uint8

const (
	tokenSemi token = iota
	tokenSpace
	tokenOther
	tokenExplain
	tokenCreate
	tokenTemp
	tokenTrigger
	tokenEnd
)

// A splitter cuts a script into statements.
type splitter struct {
	from *bufio.Reader
	text []byte
}

const (
	stateNothing = iota // only space so far
	stateNormal
	stateExplain
	stateCreate
	stateTrigger // in the body of a trigger
	stateSemi    // there, after a semicolon
	stateEnd     // there, after END
	stateDone
)

// next returns a statement with its semicolon and the space and comments before it. After the last statement it returns
// what is left, and io.EOF. ErrFormat: the last statement has no semicolon.
func (s *splitter) next() (string, error) {
	s.text = s.text[:0]
	for state := stateNothing; ; {
		t, err := s.token()
		if errors.Is(err, io.EOF) && state == stateNothing {
			return string(s.text), io.EOF
		}
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: the last statement has no end: the script is cut off", ErrFormat)
		}
		if err != nil {
			return "", err
		}
		if len(s.text) > maxStatement {
			return "", fmt.Errorf("%w: a statement of more than %d bytes", storage.ErrTooLarge, maxStatement)
		}
		if state = step(state, t); state == stateDone {
			return string(s.text), nil
		}
	}
}

// step is the table of states of sqlite3_complete.
func step(state int, t token) int {
	if t == tokenSpace {
		return state
	}
	switch state {
	case stateTrigger, stateSemi, stateEnd:
		switch {
		case t == tokenSemi && state == stateEnd:
			return stateDone
		case t == tokenSemi:
			return stateSemi
		case t == tokenEnd && state == stateSemi:
			return stateEnd
		}
		return stateTrigger
	}
	switch {
	case t == tokenSemi && state == stateNothing:
		return stateNothing
	case t == tokenSemi:
		return stateDone
	case t == tokenCreate && (state == stateNothing || state == stateExplain):
		return stateCreate
	case t == tokenExplain && state == stateNothing, t == tokenOther && state == stateExplain:
		return stateExplain
	case t == tokenTemp && state == stateCreate:
		return stateCreate
	case t == tokenTrigger && state == stateCreate:
		return stateTrigger
	}
	return stateNormal
}

// token appends the next token to the text.
func (s *splitter) token() (token, error) {
	c, err := s.take()
	if err != nil {
		return 0, err
	}
	switch c {
	case ';':
		return tokenSemi, nil
	case ' ', '\t', '\r', '\n', '\f':
		return tokenSpace, nil
	case '\'', '"', '`':
		return tokenOther, s.until(c)
	case '[':
		return tokenOther, s.until(']')
	case '-':
		if s.follows('-') {
			return tokenSpace, s.line()
		}
	case '/':
		if s.follows('*') {
			s.take()
			return tokenSpace, s.comment()
		}
	}
	if !wordByte(c) {
		return tokenOther, nil
	}
	return s.word()
}

func (s *splitter) take() (byte, error) {
	c, err := s.from.ReadByte()
	if err == nil {
		s.text = append(s.text, c)
	}
	return c, err
}

func (s *splitter) follows(c byte) bool {
	next, err := s.from.Peek(1)
	return err == nil && next[0] == c
}

// until takes all up to a closing quote. After a doubled quote the rest is the next token.
func (s *splitter) until(quote byte) error {
	ended, err := s.through(func(c byte) bool { return c == quote })
	if err == nil && !ended {
		err = fmt.Errorf("%w: a quote that is not closed: the script is cut off", ErrFormat)
	}
	return err
}

// line takes the rest of a comment that ends with its line.
func (s *splitter) line() error {
	_, err := s.through(func(c byte) bool { return c == '\n' })
	return err
}

// comment takes the rest of a comment that ends with a star and a slash.
func (s *splitter) comment() error {
	star := false
	_, err := s.through(func(c byte) bool {
		ended := star && c == '/'
		star = c == '*'
		return ended
	})
	return err
}

// through takes all up to the byte that ends a token, and reports whether the script has one. It stops in a statement
// that is too long.
func (s *splitter) through(ends func(c byte) bool) (ended bool, err error) {
	for len(s.text) <= maxStatement {
		c, err := s.take()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil || ends(c) {
			return true, err
		}
	}
	return true, nil
}

// word takes the rest of a word, and returns its token.
func (s *splitter) word() (token, error) {
	start := len(s.text) - 1
	for {
		next, err := s.from.Peek(1)
		if err != nil || !wordByte(next[0]) {
			break
		}
		s.take()
		if len(s.text) > maxStatement {
			break
		}
	}
	word := s.text[start:]
	if len(word) > len("temporary") {
		return tokenOther, nil
	}
	switch strings.ToUpper(string(word)) {
	case "CREATE":
		return tokenCreate, nil
	case "TEMP", "TEMPORARY":
		return tokenTemp, nil
	case "TRIGGER":
		return tokenTrigger, nil
	case "END":
		return tokenEnd, nil
	case "EXPLAIN":
		return tokenExplain, nil
	}
	return tokenOther, nil
}
