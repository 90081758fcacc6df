package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A format is how data is written. The zero value is a table on a terminal,
// and JSON elsewhere.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatJSONL format = "jsonl"
	formatYAML  format = "yaml"
)

// Set, String and Type make a format the value of a flag.
func (f *format) Set(text string) error {
	switch format(text) {
	case formatTable, formatJSON, formatJSONL, formatYAML:
		*f = format(text)
		return nil
	}
	return fmt.Errorf("want table, json, jsonl or yaml")
}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

// output returns the format to write.
func (a *app) output() format {
	switch {
	case a.format != "":
		return a.format
	case terminal(a.stdout):
		return formatTable
	default:
		return formatJSON
	}
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// A table is data for people.
type table struct {
	header []string
	rows   [][]string
	styles map[int]style    // of the rows that have one
	under  map[int][]string // lines below a row, which no column holds
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) addStyled(s style, cells ...string) {
	if t.styles == nil {
		t.styles = map[int]style{}
	}
	t.styles[len(t.rows)] = s
	t.add(cells...)
}

// textWidth is how wide a text is that stands below a row.
const textWidth = 96

// addUnder adds a text below the last row, indented, in as many lines as it takes.
func (t *table) addUnder(text string) {
	if t.under == nil {
		t.under = map[int][]string{}
	}
	line := ""
	for _, word := range strings.Fields(printable(text)) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > textWidth {
			t.under[len(t.rows)-1] = append(t.under[len(t.rows)-1], "    "+line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	t.under[len(t.rows)-1] = append(t.under[len(t.rows)-1], "    "+line)
}

// A style is the escape sequence that begins it.
type style string

const (
	plain  style = ""
	green  style = "\x1b[32m"
	yellow style = "\x1b[33m"
	red    style = "\x1b[31m"
	reset        = "\x1b[0m"
)

// coloured reports whether a table has colours: on a terminal, unless NO_COLOR
// is set (https://no-color.org).
func (a *app) coloured() bool {
	return terminal(a.stdout) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// print writes data: as the table, or the value in another format. Of a slice,
// jsonl writes each element on a line of its own.
func (a *app) print(value any, t table) error {
	switch a.output() {
	case formatTable:
		return a.printTable(t)
	case formatYAML:
		return a.printYAML(value)
	case formatJSONL:
		v := reflect.ValueOf(value)
		if v.Kind() != reflect.Slice {
			return a.printJSON(value, "")
		}
		for i := range v.Len() {
			if err := a.printJSON(v.Index(i).Interface(), ""); err != nil {
				return err
			}
		}
		return nil
	default:
		return a.printJSON(value, "  ")
	}
}

func (a *app) printJSON(value any, indent string) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(value); err != nil {
		return err
	}
	_, err := io.WriteString(a.stdout, escaped(text.String()))
	return err
}

// escaped escapes what JSON may leave as it is and a terminal would obey, such
// as U+009B.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r), r == '\n':
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// printYAML writes what printJSON would, with the same names in the same
// order: JSON is YAML in another style.
func (a *app) printYAML(value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	blockStyle(&doc)
	enc := yaml.NewEncoder(a.stdout)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return err
	}
	return enc.Close()
}

// blockStyle takes the braces off, and the quotes off texts that no reader of
// YAML, old or new, takes for something else.
func blockStyle(n *yaml.Node) {
	switch {
	case n.Kind != yaml.ScalarNode && len(n.Content) > 0:
		n.Style = 0
	case n.Kind == yaml.ScalarNode:
		if text, err := yaml.Marshal(n.Value); err == nil && string(text) == n.Value+"\n" {
			n.Style = 0
		}
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

func (a *app) printTable(t table) error {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	rows := t.rows
	if t.header != nil {
		rows = append([][]string{t.header}, rows...)
	}
	for _, cells := range rows {
		clean := make([]string, len(cells))
		for i, c := range cells {
			clean[i] = printable(c)
		}
		fmt.Fprintln(w, strings.Join(clean, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	i := len(t.rows) - len(rows) // the header is row -1
	for line := range strings.Lines(text.String()) {
		line = strings.TrimRight(line, " \n")
		if s := t.styles[i]; s != plain && a.coloured() {
			line = string(s) + line + reset
		}
		for _, line := range append([]string{line}, t.under[i]...) {
			if _, err := fmt.Fprintln(a.stdout, line); err != nil {
				return err
			}
		}
		i++
	}
	return nil
}

// printable makes a text safe to show on a terminal and in one line: what came
// over a queue may hold control characters.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// typed returns an argument as a shell takes it: what is not plain is quoted,
// and what cannot be shown is escaped.
func typed(arg string) string {
	const plain = "%+,-./:=@_"
	special := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(plain, r)
	}
	switch {
	case strings.ContainsFunc(arg, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(arg):
		var b strings.Builder
		for _, c := range []byte(arg) { // a shell knows no runes
			if c == '\'' || c == '\\' || c < ' ' || c > '~' {
				fmt.Fprintf(&b, `\%03o`, c) // always as long, whatever follows
			} else {
				b.WriteByte(c)
			}
		}
		return "$'" + b.String() + "'"
	case arg == "" || strings.ContainsFunc(arg, special):
		return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	default:
		return arg
	}
}

// logger logs to stderr what is no result.
func (a *app) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(stderrOf{a}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// stderrOf is an app's stderr, whatever that is by the time.
type stderrOf struct{ *app }

func (s stderrOf) Write(text []byte) (int, error) { return s.stderr.Write(text) }

// note tells people something on stderr.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}
