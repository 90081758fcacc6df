package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/waybilltest"
)

// A scene is one trip, what goes wrong with it, and what is done meanwhile.
type scene struct {
	title     string
	traveller string
	troubles  map[string]*trouble // by what
	play      func(ctx context.Context, a *agency, id string, t map[string]*trouble) error
	ends      string // how the saga ends
	holds     string // and what the traveller has then
}

const (
	nothing = "nothing"
	all     = "the car, the deposit, the hotel, the insurance, the outbound flight, the return flight, 1240 euros less"
)

func scenes() []scene {
	return []scene{
		{"All is booked, and paid", "Ada", nil, nil, "completed", all},
		{"There is no way back, while the hotel is being booked", "Ben",
			map[string]*trouble{"the return flight": {no: "there is no seat left"}}, nil,
			"compensated: Return failed: there is no seat left", nothing},
		{"The last step of the child fails", "Cleo",
			map[string]*trouble{"the deposit": {no: "the card has no such limit"}}, nil,
			"compensated: Car failed: the child execution is compensated: Deposit failed: the card has no such limit", nothing},
		{"Nobody knows whether the hotel is booked, and it is", "Dan",
			map[string]*trouble{"the hotel": {lost: true}}, nil,
			"compensated: Hotel failed: the connection broke", nothing},
		{"Nobody knows whether the hotel is booked, and it is not", "Dora",
			map[string]*trouble{"the hotel": {deaf: true}}, nil,
			"compensated: Hotel failed: the connection broke", nothing},
		{"The card is declined when all is booked", "Eve",
			map[string]*trouble{"the price": halt(), "the card": {no: "the card is declined"}}, previews("the price"),
			"compensated: Pay failed: the card is declined", nothing},
		{"The trip is cancelled while the child is at work", "Finn",
			map[string]*trouble{"the insurance": halt()}, cancels("the insurance"),
			"compensated: cancelled: the meeting was called off", nothing},
		{"A cancellation fails, until an operator has seen to it", "Gus",
			map[string]*trouble{"the card": {no: "the card is declined"}, "the hotel": {stuck: true}}, mends("the hotel"),
			"compensated: Pay failed: the card is declined", nothing},
		{"A cancel comes too late, and the tickets too", "Hal",
			map[string]*trouble{"the tickets": {late: 2, at: make(chan struct{}), wait: make(chan struct{})}}, cancels("the tickets"), "completed", all},
	}
}

// An agency runs the sagas of trips, on a Redis in this process.
type agency struct {
	world  *world
	saga   *saga.Saga[Trip]
	client *saga.Client
	out    io.Writer
	mu     sync.Mutex // of out: branches tell side by side
	stop   func() error
}

func openAgency(ctx context.Context, cfg waybilltest.Config, out io.Writer, log *slog.Logger) (*agency, error) {
	stack, err := waybilltest.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	a := &agency{out: out}
	a.world = newWorld(a.say)
	a.saga = newTrip(a.world)
	c, err := saga.NewCoordinator(saga.CoordinatorConfig{Store: stack.Store, Sagas: []saga.Definer{a.saga}, Logger: log})
	if err != nil {
		return nil, errors.Join(err, stack.Close())
	}
	a.client = c.Client()
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(running) }()
	a.stop = func() error {
		stop()
		return errors.Join(<-done, stack.Close())
	}
	return a, nil
}

// say adds a line to the story.
func (a *agency) say(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintf(a.out, "   %s\n", line)
}

// demo plays all scenes, one after the other. It reports false if something is not
// as it should be.
func demo(ctx context.Context, a *agency, list []scene) (ok bool, err error) {
	var wrong []string
	counts := map[saga.Status]int{}
	for i, s := range list {
		fmt.Fprintf(a.out, "%d. %s\n", i+1, s.title)
		x, err := a.run(ctx, fmt.Sprint("trip-", i+1), s)
		if err != nil {
			return false, fmt.Errorf("%s: %w", s.title, err)
		}
		counts[x.Status]++
		ends, holds := string(x.Status), a.world.holds(s.traveller)
		if x.Cause != nil {
			ends += ": " + x.Cause.String()
		}
		fmt.Fprintf(a.out, "   => %s\n   %s has %s\n\n", ends, s.traveller, holds)
		if ends != s.ends || holds != s.holds {
			wrong = append(wrong, fmt.Sprintf("%s's trip is %s, and %s has %s; want it %s, with %s", s.traveller, ends, s.traveller, holds, s.ends, s.holds))
		}
	}
	fmt.Fprintf(a.out, "%d trips: %d made, %d undone\n", len(list), counts[saga.Completed], counts[saga.Compensated])
	if len(wrong) > 0 {
		fmt.Fprintln(a.out, "THIS MUST NOT BE: "+strings.Join(wrong, "; "))
	}
	return len(wrong) == 0, nil
}

// run plays a scene to the end of its trip.
func (a *agency) run(ctx context.Context, id string, s scene) (*saga.Execution, error) {
	for what, t := range s.troubles {
		a.world.mu.Lock()
		a.world.troubles[s.traveller+"/"+what] = t
		a.world.mu.Unlock()
	}
	if _, err := a.saga.Start(ctx, a.client, id, Trip{Traveller: s.traveller}); err != nil {
		return nil, err
	}
	if s.play != nil {
		if err := s.play(ctx, a, id, s.troubles); err != nil {
			return nil, err
		}
	}
	return a.client.Wait(ctx, id)
}

// until waits until a trip is at something that halts it.
func (t *trouble) until(ctx context.Context) error {
	select {
	case <-t.at:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// previews asks what would be undone, and then lets the trip go on.
func previews(what string) func(context.Context, *agency, string, map[string]*trouble) error {
	return func(ctx context.Context, a *agency, id string, t map[string]*trouble) error {
		if err := t[what].until(ctx); err != nil {
			return err
		}
		list, err := a.client.PreviewUndo(ctx, id)
		if err != nil {
			return err
		}
		a.say("if it failed now, these would be undone, in this order:")
		for _, u := range list {
			a.say(fmt.Sprintf("  %s of %s, which is %s", u.Step, u.Execution, u.Outcome))
		}
		close(t[what].wait)
		return nil
	}
}

// cancels cancels a trip in the middle of something, and then lets that go on.
func cancels(what string) func(context.Context, *agency, string, map[string]*trouble) error {
	return func(ctx context.Context, a *agency, id string, t map[string]*trouble) error {
		if err := t[what].until(ctx); err != nil {
			return err
		}
		a.say("the trip is cancelled, in the middle of " + what)
		if err := a.client.Cancel(ctx, id, saga.Order{By: "the traveller", Note: "the meeting was called off"}); err != nil {
			return err
		}
		if err := a.told(ctx, id); err != nil {
			return err
		}
		close(t[what].wait)
		if _, err := a.client.Wait(ctx, id); err != nil {
			return err
		}
		events, err := a.client.History(ctx, id)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Type == saga.CancelRefused {
				a.say("the cancel was refused: " + e.Error)
			}
		}
		return nil
	}
}

// told waits until a cancel has come to whoever is at work: the trip, or its child.
func (a *agency) told(ctx context.Context, id string) error {
	for {
		x, err := a.client.Get(ctx, id)
		if err == nil && x.Child != "" {
			x, err = a.client.Get(ctx, x.Child)
		}
		if err != nil || x.UnreadMail > 0 {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// mends waits until the trip is blocked, mends what it is blocked at, and has it try
// again.
func mends(what string) func(context.Context, *agency, string, map[string]*trouble) error {
	return func(ctx context.Context, a *agency, id string, t map[string]*trouble) error {
		x, err := a.client.Wait(ctx, id)
		if err != nil {
			return err
		}
		a.say(fmt.Sprintf("the saga is %s: %s", x.Status, x.Trouble))
		a.world.mu.Lock()
		t[what].stuck = false
		a.world.mu.Unlock()
		a.say("an operator calls them, and says: waybill saga retry " + id)
		return a.client.Retry(ctx, id, saga.Order{By: "an operator", Note: "they answer again"})
	}
}
