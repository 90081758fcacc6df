package config

import (
	"errors"
	"fmt"
	"strings"
)

// Kinds of [Source], from the weakest to the strongest.
const (
	SourceDefault = "default"
	SourceFile    = "file"
	SourceEnv     = "env"
	SourceOption  = "option"
	SourceFlag    = "flag"
)

// A Source says where a value came from.
type Source struct {
	// Kind is one of the constants above.
	Kind string

	// Name is the path of the file, the environment variable or the flag.
	// It is empty for defaults.
	Name string

	// Line is the line in the file, from 1; 0 where it is not known.
	Line int
}

// String returns the source as people read it: "flag --redis",
// "env WAYBILL_REDIS", "file waybill.yaml:12" or "default".
func (s Source) String() string {
	switch {
	case s.Name == "":
		return s.Kind
	case s.Line > 0:
		return fmt.Sprintf("%s %s:%d", s.Kind, s.Name, s.Line)
	default:
		return s.Kind + " " + s.Name
	}
}

// place returns the source as an error begins with it.
func (s Source) place() string {
	if s.Kind == SourceFile && s.Line > 0 {
		return fmt.Sprintf("%s:%d", s.Name, s.Line)
	}
	return s.Name
}

// An Error reports one thing that is wrong with the configuration. Load joins
// all that it finds; errors.As gives the first.
type Error struct {
	// Source is where the value is.
	Source Source

	// Key is the setting, such as "endpoints.fares.url". It is empty where the
	// fault is not that of one setting.
	Key string

	// Problem says what is wrong and what would be right.
	Problem string

	// Err is the cause, if there is one.
	Err error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("config: ")
	if place := e.Source.place(); place != "" {
		b.WriteString(place + ": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + " ")
	}
	b.WriteString(e.Problem)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// problems collects errors, so that one run of a program shows all of them.
type problems struct{ errs []error }

func (p *problems) add(s Source, key, format string, args ...any) {
	p.errs = append(p.errs, &Error{Source: s, Key: key, Problem: fmt.Sprintf(format, args...)})
}

func (p *problems) err() error { return errors.Join(p.errs...) }

// A Secret is a text that prints as ***, in whatever way it is formatted. A
// conversion to string gives the text.
type Secret string

const masked = "***"

// String returns *** for a secret that is set.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString keeps %#v from showing the secret.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// MarshalText keeps JSON and YAML from showing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
