package table

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// A column is a field of a row's struct and the SQL column that holds it.
type column struct {
	field reflect.StructField
	name  string
	kind  string // SQLite's type
	null  bool   // the field is a pointer, and the column may be NULL
	json  bool   // the column holds the field's value as JSON
	tag   columnTag
}

func (c *column) quoted() string { return Quote(c.name) }

// goSide and sqlSide name a column in messages for the programmer.
func (c *column) goSide() string { return c.field.Name + " " + c.field.Type.String() }

func (c *column) sqlSide() string {
	if c.null {
		return c.name + " " + c.kind
	}
	return c.name + " " + c.kind + " NOT NULL"
}

// definition is the column's part of CREATE TABLE.
func (c *column) definition() string {
	def := c.quoted() + " " + c.kind
	if !c.null {
		def += " NOT NULL"
	}
	if c.tag.fallback != "" {
		def += " DEFAULT (" + c.tag.fallback + ")"
	}
	switch {
	case c.json:
		def += " CHECK (json_valid(" + c.quoted() + "))"
	case c.goType().Kind() == reflect.Bool:
		def += " CHECK (" + c.quoted() + " IN (0, 1))"
	}
	if c.tag.check != "" {
		def += " CHECK (" + c.tag.check + ")"
	}
	if c.tag.references != "" {
		table, key, _ := strings.Cut(c.tag.references, ".")
		def += " REFERENCES " + Quote(table) + " (" + Quote(key) + ") DEFERRABLE INITIALLY DEFERRED"
	}
	return def
}

// goType returns the field's type without its pointer.
func (c *column) goType() reflect.Type {
	if c.null && c.field.Type.Kind() == reflect.Pointer {
		return c.field.Type.Elem()
	}
	return c.field.Type
}

// missing returns the SQL expression for the column in rows that are older than it.
func (c *column) missing() (string, error) {
	switch {
	case c.tag.fallback != "":
		return "(" + c.tag.fallback + ")", nil
	case c.null:
		return "NULL", nil
	}
	zero, err := c.value(reflect.Zero(c.field.Type))
	if err != nil {
		return "", err
	}
	return literal(zero), nil
}

// literal returns a value of columnValue as SQL.
func literal(v any) string {
	switch v := v.(type) {
	case time.Time:
		return strconv.FormatInt(v.UnixMilli(), 10)
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	case bool:
		if v {
			return "1"
		}
		return "0"
	case []byte:
		return fmt.Sprintf("x'%x'", v)
	case float64:
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	return fmt.Sprint(v)
}

// value returns a field's value as SQL takes it.
func (c *column) value(v reflect.Value) (any, error) {
	if !c.json {
		return columnValue(v), nil
	}
	if c.null && v.IsNil() {
		return nil, nil
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return nil, fmt.Errorf("the column %s: %w", c.name, err)
	}
	return string(text), nil
}

// pointer returns where the column is read into.
func (c *column) pointer(row reflect.Value) any {
	to := row.FieldByIndex(c.field.Index).Addr()
	if c.json {
		return &jsonField{to}
	}
	return to.Interface()
}

// A jsonField is a field that is read from JSON. It is a sql.Scanner.
type jsonField struct{ to reflect.Value }

func (f *jsonField) Scan(v any) error {
	f.to.Elem().SetZero()
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(v), f.to.Interface())
	}
	return fmt.Errorf("a %T is no JSON", v)
}

// planColumn returns the column of a field.
func planColumn(f reflect.StructField) (column, error) {
	tag, err := parseTag(f.Tag.Get("den"))
	if err != nil {
		return column{}, fmt.Errorf("the field %s: %w", f.Name, err)
	}
	c := column{field: f, name: tag.name, json: tag.json, tag: tag}
	if c.name == "" {
		c.name = Snake(f.Name)
	}
	if !IsName(c.name) {
		return column{}, fmt.Errorf("the column %q of field %s: want letters, digits and '_'", c.name, f.Name)
	}
	c.null = f.Type.Kind() == reflect.Pointer
	c.kind = "TEXT"
	if !c.json {
		c.kind = baseKind(c.goType())
	}
	if c.kind == "" {
		return column{}, fmt.Errorf("the field %s is a %s, which no column can hold; with the tag `den:\",json\"` it is kept as JSON", f.Name, f.Type)
	}
	return c, nil
}

// A columnTag is the content of a field's tag.
type columnTag struct {
	name       string
	json       bool
	check      string // an SQL expression
	fallback   string // an SQL expression: DEFAULT
	references string // table.column
	indexes    []indexTag
}

// An indexTag puts the column into an index. Columns with the same index name share it.
type indexTag struct {
	name   string // empty: the column has its own index
	unique bool
}

// parseTag reads `den:"name,option,option=value"`. A comma in parentheses or in an SQL text is part of the value.
func parseTag(tag string) (columnTag, error) {
	parts := splitTag(tag)
	t := columnTag{name: parts[0]}
	for _, part := range parts[1:] {
		option, value, has := strings.Cut(strings.TrimSpace(part), "=")
		if err := t.option(option, value); err != nil {
			return t, err
		}
		if has && value == "" {
			return t, fmt.Errorf("the option %q of the tag has no value", option)
		}
	}
	return t, nil
}

func (t *columnTag) option(option, value string) error {
	switch option {
	case "json":
		t.json = true
	case "index", "unique":
		if value != "" && !IsName(value) {
			return fmt.Errorf("the index %q: want letters, digits and '_'", value)
		}
		t.indexes = append(t.indexes, indexTag{value, option == "unique"})
	case "check":
		t.check = value
	case "default":
		t.fallback = value
	case "references":
		table, key, _ := strings.Cut(value, ".")
		if key == "" {
			key = "id"
		}
		if !IsName(table) || !IsName(key) {
			return fmt.Errorf("the option references=%s: want a table, or table.column", value)
		}
		t.references = table + "." + key
	default:
		return fmt.Errorf("there is no option %q of a tag: want json, index, unique, check=, default= or references=", option)
	}
	return nil
}

// splitTag splits at the commas that are not in parentheses or in an SQL text.
func splitTag(tag string) []string {
	var parts []string
	depth, text, start := 0, false, 0
	for i := range len(tag) {
		switch c := tag[i]; {
		case c == '\'':
			text = !text
		case text:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts, start = append(parts, tag[start:i]), i+1
		}
	}
	return append(parts, tag[start:])
}

// Quote returns a name as SQL.
func Quote(name string) string { return `"` + name + `"` }

// baseKind returns the SQLite type of a field, empty if none can hold it.
func baseKind(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "INTEGER"
	case t == reflect.TypeFor[json.RawMessage]():
		return "TEXT"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return "BLOB"
	}
	switch t.Kind() {
	case reflect.String:
		return "TEXT"
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return "INTEGER"
	case reflect.Float32, reflect.Float64:
		return "REAL"
	}
	return ""
}

// columnValue returns a field's value as SQL takes it. A nil slice of bytes is an empty blob, because its column does
// not take NULL.
func columnValue(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch value := v.Interface().(type) {
	case time.Time, string, int64, bool, float64:
		return value
	case json.RawMessage:
		return string(value)
	}
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Float32, reflect.Float64:
		return v.Float()
	case reflect.Slice:
		return append([]byte{}, v.Bytes()...)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return int64(v.Uint())
	}
	return v.Int()
}
