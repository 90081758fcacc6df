package main

import (
	"bytes"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/internal/testserver"
)

// doubled sends everything twice, and tells of the first undo.
type doubled struct {
	message.Publisher
	once   sync.Once
	undoes chan struct{}
}

func (d *doubled) Publish(topic string, messages ...*message.Message) error {
	for _, msg := range messages {
		if bytes.Contains(msg.Payload, []byte(`"command":"undo"`)) {
			d.once.Do(func() { close(d.undoes) })
		}
	}
	for range 2 {
		for _, msg := range messages {
			if err := d.Publisher.Publish(topic, msg.Copy()); err != nil {
				return err
			}
		}
	}
	return nil
}

// An order goes its way with a warehouse in Python, to which each command comes
// twice. There is one lamp.
func TestSaga(t *testing.T) {
	t.Parallel()
	const dies = "do = warehouse.reserve\ndef reserve(*args): do(*args); die()\nwarehouse.reserve = reserve"
	tests := []struct {
		name    string
		order   Order
		spoiler string // of the first process, which dies of it
		late    bool   // there is no process before the saga has given up
		fifo    bool   // as well
		want    string
		told    []string
		left    string // lamps
	}{
		{name: "completes", order: Order{Item: "lamp", Count: 1}, want: "completed",
			told: []string{"the card is authorized", "1 lamp reserved as r-1, and paid"}, left: "0"},
		{name: "is refused", order: Order{Item: "lamp", Count: 2}, want: "compensated: Reserve failed: there are no 2 of lamp left",
			told: []string{"the card is authorized", "the authorization is voided"}, left: "1"},
		{name: "is undone", order: Order{Item: "lamp", Count: 1, Card: "expired"}, fifo: true, want: "compensated: Capture failed: the card has expired",
			told: []string{"the card is authorized", "the authorization is voided"}, left: "1"},
		{name: "is killed before its commit", order: Order{Item: "lamp", Count: 1}, spoiler: dies, want: "completed",
			told: []string{"the card is authorized", "1 lamp reserved as r-1, and paid"}, left: "0"},
		{name: "is killed before its reply", order: Order{Item: "lamp", Count: 1}, spoiler: "participant.Participant.reply = die", fifo: true, want: "completed",
			told: []string{"the card is authorized", "1 lamp reserved as r-1, and paid"}, left: "0"},
		{name: "is killed as it undoes", order: Order{Item: "lamp", Count: 1, Card: "expired"},
			spoiler: strings.ReplaceAll(dies, "reserve", "release"), want: "compensated: Capture failed: the card has expired",
			told: []string{"the card is authorized", "the authorization is voided"}, left: "1"},
		{name: "comes too late", order: Order{Item: "lamp", Count: 1}, late: true, want: "compensated: Reserve failed: no reply came in time",
			told: []string{"the card is authorized", "the authorization is voided"}, left: "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kinds := []string{standard}
			if tt.fifo {
				kinds = both()
			}
			everywhere(t, kinds, func(t *testing.T, s *site) {
				if url, ok := testserver.ElasticMQ(t); ok && url == s.place.url {
					return // it lacks what the making of a topology asks for
				}
				var mu sync.Mutex
				var told []string
				tell := func(_, line string) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, line)
				}
				patience, attempts := patience, attempts
				if tt.late {
					patience, attempts = time.Second, 1
				}
				commands := &doubled{undoes: make(chan struct{})}
				shop, err := openShop(t.Context(), shopConfig{
					AWS: s.aws, Namespace: s.place.namespace, Kind: s.place.kind, Store: s.stack.Store, Saga: newSaga(patience, attempts, tell),
					Visibility: visibility, Log: slog.New(slog.DiscardHandler),
					Wrap: func(p message.Publisher) message.Publisher { commands.Publisher = p; return commands },
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := shop.close(); err != nil {
						t.Error(err)
					}
				})
				ended := make(chan string, 1)
				go func() {
					end, err := shop.order(t.Context(), "order-1", tt.order)
					if err != nil {
						end = err.Error()
					}
					ended <- end
				}()
				switch {
				case tt.late:
					<-commands.undoes
				case tt.spoiler != "":
					<-s.start(tt.spoiler).exited
				}
				p := s.start("")
				if got := <-ended; got != tt.want {
					t.Errorf("it is %q, want %q", got, tt.want)
				}
				mu.Lock()
				defer mu.Unlock()
				if !slices.Equal(told, tt.told) {
					t.Errorf("it tells %q, want %q", told, tt.told)
				}
				if err := p.cmd.Process.Kill(); err != nil { // an end in order takes a poll's time
					t.Error(err)
				}
				<-p.exited
				out, err := exec.CommandContext(t.Context(), s.place.python, "-c",
					"import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); print(*db.execute('SELECT count FROM stock').fetchone(), "+
						"db.execute('SELECT count(*) FROM reservations').fetchone()[0])", s.place.database).CombinedOutput()
				if want := tt.left + map[string]string{"0": " 1\n", "1": " 0\n"}[tt.left]; err != nil || string(out) != want {
					t.Errorf("lamps and reservations: %s, %v, want %s", out, err, want)
				}
			})
		})
	}
}
