package redisstore

import (
	"strconv"
	"time"
)

// An answer is what a script returned. Its accessors are lenient about nil and
// about number or text, as Lua and RESP are.
type answer []any

func (a answer) str(i int) string {
	if i >= len(a) {
		return ""
	}
	switch v := a[i].(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}

func (a answer) bytes(i int) []byte {
	if s := a.str(i); s != "" {
		return []byte(s)
	}
	return nil
}

func (a answer) int(i int) int64 {
	if i >= len(a) {
		return 0
	}
	switch v := a[i].(type) {
	case int64:
		return v
	case string:
		return number(v)
	}
	return 0
}

func (a answer) time(i int) time.Time { return millis(a.int(i)) }

func (a answer) list(i int) [][]byte {
	if i >= len(a) {
		return nil
	}
	items, _ := a[i].([]any)
	if len(items) == 0 {
		return nil
	}
	out := make([][]byte, len(items))
	for j := range items {
		s, _ := items[j].(string)
		out[j] = []byte(s)
	}
	return out
}

// number is a stored number; 0 stands for none.
func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// millis is the time of a stored number; 0 stands for none.
func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// ceilMillis is a duration in milliseconds, rounded up: a lease or a delay never
// ends before its time.
func ceilMillis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// ceilTime is a time as it is stored, rounded up likewise.
func ceilTime(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}
