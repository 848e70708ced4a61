package room

import (
	"encoding/json"
	"reflect"
	"time"
)

// sqlKind is the SQLite type of a field; empty if none can hold it.
func sqlKind(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		if kind := baseKind(t.Elem()); kind != "" && t.Elem().Kind() != reflect.Pointer {
			return kind
		}
		return ""
	}
	if kind := baseKind(t); kind != "" {
		return kind + " NOT NULL"
	}
	return ""
}

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

// columnValue is a field's value as SQL takes it. A nil slice of bytes is an empty
// blob, since its column takes no NULL.
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
