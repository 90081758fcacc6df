package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/queue/topology"
)

// TestPlaces holds that commands go to where each endpoint is: the queues of two
// regions and accounts have the same names.
func TestPlaces(t *testing.T) {
	c := newStackCLI(t, "")
	other := httptest.NewServer(emulator.New(emulator.Config{Account: "222222222222"}))
	t.Cleanup(other.Close)
	if err := os.WriteFile(config.DefaultFile, fmt.Appendf(nil, `endpoints:
  here: {url: sqs://fares, dead_letter: sqs://fares-dlq}
  there:
    url: sqs://fares
    dead_letter: sqs://fares-dlq
    region: eu-west-1
    endpoint_url: %s
    role_arn: arn:aws:iam::222222222222:role/fares
`, other.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	if steps := decode[[]topology.Step](t, c.ok("topology", "apply")); len(steps) != 4 {
		t.Errorf("applied %v; want two queues in each place", steps)
	}

	cfg, err := config.Load()
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := cfg.Endpoints()
	if err != nil {
		t.Fatal(err)
	}
	awsFor, err := cfg.AWS.LoadFor(t.Context(), endpoints)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := queue.NewAdmin(queue.AdminConfig{AWSFor: awsFor, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	// A dead letter of there, in a set without here, as a pipeline buries it.
	there, err := endpoints.Resolve("there")
	if err != nil {
		t.Fatal(err)
	}
	alone, err := queue.NewEndpoints("", there)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := queue.NewPublisher(queue.PublisherConfig{AWSFor: awsFor, Endpoints: alone})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	msg := message.NewMessage("m", []byte("{}"))
	f := queue.NewFailure(queue.ReasonPermanent, errors.New("card declined"))
	f.Source = there.URL
	if err := f.Encode(msg); err != nil {
		t.Fatal(err)
	}
	if err := pub.Publish(there.DeadLetter, msg); err != nil {
		t.Fatal(err)
	}

	waiting := func(name string) int {
		t.Helper()
		q, err := admin.Queue(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := q.Attributes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return a.Visible
	}
	counts := map[bool]int{} // by whether it is there
	for _, q := range decode[[]dlq.Queue](t, c.ok("dlq", "ls")) {
		counts[strings.Contains(q.URL, "222222222222")] += q.Messages
		if len(q.Sources) != 1 || q.Missing {
			t.Errorf("dlq ls has %+v", q)
		}
	}
	if counts[true] != 1 || counts[false] != 0 || len(counts) != 2 {
		t.Errorf("dlq ls counts %v; want the message there", counts)
	}
	if got := decode[[]dlq.Queue](t, c.ok("dlq", "ls", "there")); len(got) != 1 || !strings.Contains(got[0].URL, "222222222222") {
		t.Errorf("dlq ls there: %+v", got)
	}
	if got := c.ok("dlq", "peek", "here"); strings.Contains(got, "card declined") {
		t.Errorf("dlq peek here: %s", got)
	}
	if got := c.ok("dlq", "peek", "there"); !strings.Contains(got, "card declined") {
		t.Errorf("dlq peek there: %s", got)
	}
	c.fails(exitFailed, `"here" and "there"`, "dlq", "peek", there.DeadLetter)
	c.ok("dlq", "redrive", "there", "--yes")
	if here, there := waiting("here"), waiting("there"); here != 0 || there != 1 {
		t.Errorf("after the redrive %d wait here and %d there", here, there)
	}

	role := "arn:aws:iam::222222222222:role/fares"
	own := decode[topology.Policy](t, c.ok("topology", "iam", "--account", "111122223333"))
	if text := fmt.Sprint(own); !strings.Contains(text, "sts:AssumeRole] ["+role) || strings.Contains(text, "arn:aws:sqs:eu-west-1") || !strings.Contains(text, "arn:aws:sqs:us-east-1:111122223333:") {
		t.Errorf("the program's policy is %s", text)
	}
	its := fmt.Sprint(decode[topology.Policy](t, c.ok("topology", "iam", "--for-role", role)))
	if strings.Contains(its, "sts:") || strings.Contains(its, "us-east-1") || !strings.Contains(its, "arn:aws:sqs:eu-west-1:222222222222:") {
		t.Errorf("the role's policy is %s", its)
	}
	c.fails(exitUsage, "no endpoint has the role", "topology", "iam", "--for-role", "arn:aws:iam::222222222222:role/other")
}

// TestPlacesOfDeadLetters holds that the dead letters of an endpoint are those of its
// place, also where another endpoint is a queue of the same name elsewhere.
func TestPlacesOfDeadLetters(t *testing.T) {
	c := newStackCLI(t, "")
	other := httptest.NewServer(emulator.New(emulator.Config{Account: "222222222222"}))
	t.Cleanup(other.Close)
	if err := os.WriteFile(config.DefaultFile, fmt.Appendf(nil, `endpoints:
  dead: {url: sqs://fares-dlq}
  there:
    url: sqs://fares
    dead_letter: sqs://fares-dlq
    region: eu-west-1
    endpoint_url: %s
    role_arn: arn:aws:iam::222222222222:role/fares
`, other.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ok("topology", "apply")
	if got := decode[[]dlq.Queue](t, c.ok("dlq", "ls", "there")); len(got) != 1 || !strings.Contains(got[0].URL, "222222222222") {
		t.Errorf("dlq ls there: %+v", got)
	}
}

// TestPlacesErrors holds that errors name the endpoint whose credentials are wrong.
func TestPlacesErrors(t *testing.T) {
	c := newCLI(t, "endpoints:\n  lost: {url: sqs://q, profile: nobody, region: eu-west-1}\n")
	c.fails(exitFailed, `"lost"`, "topology", "plan")
	c = newCLI(t, "endpoints:\n  lost: {url: sqs://q, role_arn: fares}\n  odd: {url: sqs://q, external_id: x}\n")
	c.fails(exitUsage, "not the ARN of a role", "topology", "plan")
	c.fails(exitUsage, "ExternalID is set, but RoleARN is not", "topology", "plan")
}
