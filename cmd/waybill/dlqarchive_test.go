package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// What is exported, purged and imported is there again.
func TestDLQArchive(t *testing.T) {
	c, bury := newGraveyard(t)
	for i := range 5 {
		bury("sqs://test-fares-dlq", fmt.Sprint("p", i), fmt.Sprintf(`{"amount":%d}`, i), "sqs://test-fares", queue.ReasonPermanent)
	}
	r := c.run("dlq", "export", "fares", "--filter", ".body.amount < 2")
	if r.code != exitOK || strings.Count(r.stdout, "\n") != 2 || !strings.Contains(r.stderr, "2 messages were written, of 5") {
		t.Errorf("%+v", r)
	}
	out := c.ok("dlq", "export", "fares", "--file", "all.jsonl", "-o", "table")
	if squeeze(out) != "queue test-fares-dlq looked at 5 of 5 written 5" {
		t.Errorf("got %s", out)
	}
	c.fails(exitUsage, "all.jsonl is there already", "dlq", "export", "fares", "--file", "all.jsonl")
	c.fails(exitPartial, "2 of 5 messages were looked at", "dlq", "export", "fares", "--limit", "2")
	c.fails(exitUsage, "--limit is 0", "dlq", "export", "fares", "--limit", "0")
	c.fails(exitNotFound, "does not exist", "dlq", "export", "test-none", "--file", "none.jsonl")
	if _, err := os.Stat("none.jsonl"); err == nil {
		t.Error("an export that wrote nothing has left a file in the way of the next one")
	}
	c.fails(exitUsage, "--file is empty", "dlq", "export", "fares", "--file", "")

	c.fails(exitUsage, "want --filter, or --all", "dlq", "purge", "fares", "--yes")
	c.fails(exitUsage, "exclude each other", "dlq", "purge", "fares", "--yes", "--all", "x", "--filter", "true")
	c.fails(exitUsage, `All is "fares-dlq"`, "dlq", "purge", "fares", "--yes", "--all", "fares-dlq")
	r = c.run("dlq", "purge", "fares", "--all", "test-fares-dlq", "--archive", "purged.jsonl", "-o", "table")
	if r.code != exitOK || !strings.Contains(r.stderr, "nothing was deleted") || squeeze(r.stdout) != "queue test-fares-dlq looked at 5 of 5 would be deleted 5" {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat("purged.jsonl"); err == nil || c.messages("test-fares-dlq") != "5" {
		t.Errorf("a dry run has archived, or deleted")
	}
	p := decode[purged](t, c.ok("dlq", "purge", "fares", "--filter", ".body.amount < 4", "--archive", "purged.jsonl", "--yes", "--reason", "mended"))
	if p.Deleted != 4 || p.Archived != 4 || p.Filtered != 1 || p.Reason != "mended" || !strings.HasPrefix(p.By, "ada@") || c.messages("test-fares-dlq") != "1" {
		t.Errorf("%+v", p)
	}
	text, err := os.ReadFile("purged.jsonl")
	if err != nil || bytes.Count(text, []byte("\n")) != 4 {
		t.Errorf("%v, %s", err, text)
	}

	r = c.run("dlq", "import", "fares", "purged.jsonl", "-o", "table")
	if r.code != exitOK || !strings.Contains(r.stderr, "nothing was sent") || squeeze(r.stdout) != "queue test-fares-dlq lines 4 would be sent 4" {
		t.Errorf("%+v", r)
	}
	for _, want := range []dlq.ImportReport{{Lines: 4, Sent: 4}, {Lines: 4, Skipped: 4}} {
		got := decode[importedQueue](t, c.ok("dlq", "import", "fares", "purged.jsonl", "--yes", "--reason", "again"))
		if got.Lines != want.Lines || got.Sent != want.Sent || got.Skipped != want.Skipped || got.Reason != "again" {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if n := c.messages("test-fares-dlq"); n != "5" {
		t.Errorf("%s messages, want 5", n)
	}
	if got := decode[importedQueue](t, c.ok("dlq", "import", "fares", "purged.jsonl", "--yes", "--id", "2nd")); got.Sent != 4 {
		t.Errorf("%+v", got)
	}
	bad := append(bytes.Clone(text), "{\"v\":1}\n"...)
	if err := os.WriteFile("bad.jsonl", bad, 0o600); err != nil {
		t.Fatal(err)
	}
	c.fails(exitFailed, "line 5: message_id: it is missing or empty", "dlq", "import", "fares", "bad.jsonl")
	c.fails(exitPartial, "line 5: message_id: it is missing or empty", "dlq", "import", "fares", "bad.jsonl", "--yes")
	c.fails(exitUsage, "--id has 0 bytes", "dlq", "import", "fares", "bad.jsonl", "--id", "")
	c.fails(exitFailed, "no such file", "dlq", "import", "fares", "none.jsonl")
}
