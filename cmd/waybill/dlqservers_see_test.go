package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/dlq"
)

// The verbs that look into a queue, and those of a redrive, on all servers.
func TestDLQSeenAndRedrivenOnServers(t *testing.T) {
	onServers(t, func(c *cli, bury func(n int)) {
		bury(6)
		name := os.Getenv("WAYBILL_NAMESPACE") + "-fares-dlq"
		if list := decode[[]dlq.Queue](c, c.ok("dlq", "ls", "fares")); len(list) != 1 || list[0].Name != name || list[0].Messages != 6 {
			c.Errorf("ls: %+v", list)
		}
		for _, tt := range []struct {
			args string
			code int
			want string // fields of what it prints, as JSON
		}{
			{args: "show fares m03", want: `{"id":"m03"}`},
			{args: "show fares none", code: exitNotFound},
			{args: "redrive fares --filter .body.n==5 --edit .body.n=7 --yes", want: `{"sent":1,"edited":1,"remaining":5}`},
			{args: "redrive fares --limit 2", want: `{"dry_run":true,"would_send":2,"sent":0}`},
			{args: "redrive fares --limit 2 --yes --reason r", want: `{"dry_run":false,"sent":2,"deleted":2,"remaining":3,"reason":"r"}`},
			{args: "redrive status fares", want: `{"state":"ended","status":"done","in_hand":0}`},
			{args: "redrive resume fares --yes", code: exitNotFound},
			{args: "redrive cancel fares --yes", code: exitNotFound},
			{args: "redrive fares --canary 1 --canary-wait 1s --yes", code: exitPartial, want: `{"sent":1,"remaining":2}`}, // nobody receives it
			{args: "redrive fares --yes", want: `{"sent":2,"remaining":0}`},
		} {
			r := c.run(append([]string{"dlq"}, strings.Fields(tt.args)...)...)
			if r.code != tt.code {
				c.Fatalf("%s: exit code %d, want %d\n%s%s", tt.args, r.code, tt.code, r.stdout, r.stderr)
			}
			if tt.want == "" {
				continue
			}
			got, want := decode[map[string]json.RawMessage](c, r.stdout), decode[map[string]json.RawMessage](c, tt.want)
			for field := range want {
				if string(got[field]) != string(want[field]) {
					c.Errorf("%s: %s is %s, want %s", tt.args, field, got[field], want[field])
				}
			}
		}
		if list := decode[[]dlq.Job](c, c.ok("dlq", "redrive", "history", "fares")); len(list) != 4 {
			c.Errorf("history: %+v", list)
		}
		if list := decode[[]json.RawMessage](c, c.ok("dlq", "audit", "--queue", "fares")); len(list) != 4 {
			c.Errorf("audit: %s", fmt.Sprint(len(list)))
		}
		if letters := decode[[]json.RawMessage](c, c.ok("dlq", "peek", "fares")); len(letters) != 0 {
			c.Errorf("peek: %s", letters)
		}
	})
}
