package main

import (
	"io/fs"
	"testing"

	"github.com/waybill-dev/waybill/saga"
)

// What is listed can be printed, and is what package saga has.
func TestSchema(t *testing.T) {
	c := newCLI(t, "")
	c.equal(c.ok("schema", "-o", "table"), `
NAME       MESSAGE
command    Command of a saga to a participant
complete   Completion of a task
fail       Failure of a task
heartbeat  Heartbeat of a task
notice     Notice of the end of an execution
reply      Reply of a participant to a saga
signal     Signal to an execution
start      Start of an execution
`)
	for _, e := range decode[[]schemaEntry](t, c.ok("schema")) {
		want, err := fs.ReadFile(saga.Schemas(), e.Name+".json")
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"json", "table"} {
			if got := c.ok("schema", e.Name, "-o", format); got != string(want) {
				t.Errorf("%s, -o %s: got %s, want %s", e.Name, format, got, want)
			}
		}
	}
	for _, name := range []string{"comand", "../saga", "", "command.json"} {
		c.fails(exitUsage, "waybill schema lists them", "schema", name)
	}
	c.fails(exitUsage, `takes NAME, and got "reply" as well`, "schema", "command", "reply")
}
