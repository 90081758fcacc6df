package saga

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// What is stored is read with encoding/json, and is to be what that would have
// written: each field of each kind of value, whatever is in its strings.
func TestStoredIsWhatEncodingJSONWrites(t *testing.T) {
	for _, of := range []reflect.Type{
		reflect.TypeFor[frame](), reflect.TypeFor[entry](), reflect.TypeFor[meta](), reflect.TypeFor[mail](), reflect.TypeFor[letter](),
	} {
		t.Run(of.Name(), rapid.MakeCheck(func(t *rapid.T) {
			v := reflect.New(of)
			fill(t, v.Elem(), 3)
			want, err := json.Marshal(v.Interface())
			if err != nil {
				t.Fatal(err)
			}
			got, err := encodeJSON(nil, v.Interface())
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(got) {
				t.Fatalf("it is no JSON: %s", got)
			}
			read, expected := reflect.New(of), reflect.New(of)
			if err := decodeJSON(nil, got, read.Interface()); err != nil {
				t.Fatalf("%v in %s", err, got)
			}
			if err := json.Unmarshal(want, expected.Interface()); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(read.Interface(), expected.Interface()) {
				t.Fatalf("encodeJSON writes\n%s\nand encoding/json\n%s", got, want)
			}
		}))
	}
}

// fill sets the exported fields of a value, and what is in them down to a depth, to
// anything.
func fill(t *rapid.T, v reflect.Value, depth int) {
	raw := rapid.SampledFrom([]string{`null`, `{"a":"\u003cb\u003e"}`, `[1,2]`, `"\u2028"`, `1e300`})
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		if rapid.Bool().Draw(t, "there") { // else it is null where it is not left out
			v.SetBytes([]byte(raw.Draw(t, "raw")))
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(string(rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "text")))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "number"))
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Byte().Draw(t, "byte")))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(t, v.Field(i), depth)
			}
		}
	case reflect.Pointer:
		if depth > 0 && rapid.Bool().Draw(t, "set") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), depth-1)
		}
	case reflect.Slice:
		if depth > 0 {
			v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 2).Draw(t, "length"), 2))
			for i := range v.Len() {
				fill(t, v.Index(i), depth-1)
			}
		}
	case reflect.Map:
		if depth > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range rapid.IntRange(0, 2).Draw(t, "size") {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fill(t, key, 0)
				fill(t, value, depth-1)
				v.SetMapIndex(key, value)
			}
		}
	default:
		t.Fatalf("fill does not know %s", v.Type())
	}
}
