package main

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// What takes messages out of a queue waits for nobody: the second operator is told
// who is at it, and why nothing was done.
func TestDLQWorkIsHeld(t *testing.T) {
	c, bury := newGraveyard(t)
	bury("sqs://test-fares-dlq", "m1", `{}`, "sqs://test-fares", queue.ReasonPermanent)
	c.ok("dlq", "ingest", "fares") // a dry run needs no Redis
	c.ok("dlq", "ingest", "fares", "--yes")
	c.ok("dlq", "export", "fares", "--catalogue", "--file", "one.jsonl")
	client := redis.NewClient(&redis.Options{Addr: c.stack.RedisAddr})
	defer client.Close()
	st, err := redisstore.Open(t.Context(), redisstore.Config{Client: client, Namespace: "test", Existing: true, AcceptUnknownEviction: true})
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := st.ListJobs(t.Context(), "", 0, 1)
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%+v, %v", jobs, err)
	}
	if _, err := st.OpenJob(t.Context(), store.JobOpening{Subject: jobs[0].Subject, ID: "j", Owner: "ben", Token: "t", Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"ingest", "fares", "--yes"},
		{"import", "fares", "one.jsonl", "--yes"},
		{"purge", "fares", "--all", "test-fares-dlq", "--yes"},
		{"purge", "fares", "--all", "test-fares-dlq", "--catalogue", "--yes"},
		{"redrive", "fares", "--catalogue", "--yes"},
	} {
		c.fails(exitHeld, "ben works on it since", append([]string{"dlq"}, args...)...)
	}
	if got := c.ok("dlq", "catalogue", "-o", "table"); squeeze(got) != "QUEUE LETTERS test-fares-dlq 1" {
		t.Errorf("the catalogue is %s", got)
	}
	c.fails(exitUsage, "exclude each other", "dlq", "redrive", "fares", "--catalogue", "--no-journal")
	c.fails(exitUsage, "exclude each other", "dlq", "purge", "fares", "--all", "test-fares-dlq", "--catalogue", "--no-journal")
	c.fails(exitUsage, "--limit is 0", "dlq", "ingest", "fares", "--limit", "0")
	c.fails(exitUsage, "--limit is 0", "dlq", "groups", "fares", "--catalogue", "--limit", "0")
}
