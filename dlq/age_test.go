package dlq_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/queue"
)

// A teller tells an age, or an error, of every queue, and of which it was asked.
type teller struct {
	age queue.OldestAge
	of  *[]string
}

func (f teller) OldestAges(_ context.Context, queues []*queue.Queue) []queue.OldestAge {
	ages := make([]queue.OldestAge, len(queues))
	for i, q := range queues {
		ages[i] = f.age
		*f.of = append(*f.of, q.Name)
	}
	return ages
}

// The age of the oldest message is that of those that are looked at where that has
// no side effects, else what a finder says, else that of those received; or it is
// not known, and why.
func TestFindAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := embedded(t)
		for _, name := range []string{"old", "empty"} {
			s.queue(name+"-dlq", "", 0)
			s.queue(name, name+"-dlq", 3)
		}
		s.queue("gone", "", 0)
		s.send("old-dlq", "1")
		time.Sleep(time.Hour)
		s.send("old-dlq", "2")
		time.Sleep(time.Hour)
		var asked []string
		broken := teller{queue.OldestAge{Err: errors.New("denied")}, &asked}
		for _, tt := range []struct {
			name   string
			c      *dlq.Client
			opts   dlq.AgeOptions
			want   string // of old
			told   int    // queues that the finder was asked of
			counts string // how often its messages were received
		}{
			{"looked", s.clientVia(s.seeing, fares()), dlq.AgeOptions{Finder: broken, Receive: 5}, "2h0m0s true looked ", 0, "0"},
			{"nothing tells", s.client(fares()), dlq.AgeOptions{}, "0s false  SQS does not tell", 0, "0"},
			{"metrics", s.client(fares()), dlq.AgeOptions{Finder: teller{queue.OldestAge{Age: time.Minute}, &asked}, Receive: 5}, "1m0s true metrics ", 1, "0"},
			{"metrics that fail", s.client(fares()), dlq.AgeOptions{Finder: broken}, "0s false metrics denied", 1, "0"},
			{"received", s.client(fares()), dlq.AgeOptions{Finder: broken, Receive: 5}, "2h0m0s true received ", 1, "1"},
		} {
			asked = nil
			list, err := tt.c.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.c.FindAges(t.Context(), list, tt.opts); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, q := range list {
				got[strings.TrimPrefix(q.Name, s.ns+"-")] = fmt.Sprintf("%v %t %s %s", q.Oldest.Age.Round(time.Minute), q.Oldest.Known, q.Oldest.From, q.Oldest.Reason)
			}
			if got["old-dlq"] != tt.want || got["empty-dlq"] != "0s false  the queue is empty" || got["fares-dlq"] != "0s false  the queue cannot be read" || len(asked) != tt.told {
				t.Errorf("%s: %q, asked of %q", tt.name, got, asked)
			}
			letters, err := s.clientVia(s.seeing).Peek(t.Context(), s.full("old-dlq"), 2)
			if err != nil || len(letters) != 2 || fmt.Sprint(letters[0].ReceiveCount) != tt.counts {
				t.Errorf("%s: its messages are %s, %v", tt.name, asJSON(t, letters), err)
			}
		}
		// As a finder, for a watcher.
		list, err := s.clientVia(s.seeing).List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		admin, err := queue.NewAdmin(queue.AdminConfig{AWS: s.seeing})
		if err != nil {
			t.Fatal(err)
		}
		var queues []*queue.Queue
		for _, q := range list {
			found, err := admin.Queue(t.Context(), q.Name)
			if err != nil {
				t.Fatal(err)
			}
			queues = append(queues, found)
		}
		ages := dlq.LookAges(nil).OldestAges(t.Context(), queues)
		if len(ages) != 2 || !errors.Is(ages[0].Err, queue.ErrNoAge) || ages[1].Err != nil || ages[1].Age.Round(time.Minute) != 2*time.Hour {
			t.Errorf("of a finder: %+v", ages)
		}
	})
	if err := embedded(t).client().FindAges(t.Context(), nil, dlq.AgeOptions{Receive: -1}); err == nil {
		t.Error("receives -1")
	}
}

func TestOldestJSON(t *testing.T) {
	for _, o := range []dlq.Oldest{{Age: 90 * time.Second, Known: true, From: dlq.AgeLooked}, {Known: true}, {Reason: "why"}} {
		text, err := json.Marshal(o)
		var back dlq.Oldest
		if err != nil || json.Unmarshal(text, &back) != nil || back != o || strings.Contains(string(text), "age_seconds") != o.Known {
			t.Errorf("%+v is %s, and back %+v, %v", o, text, back, err)
		}
	}
}
