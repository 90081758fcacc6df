package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// A world is where trips are booked. It would be services of others; here it is in
// memory, and told what is to go wrong.
type world struct {
	tell func(line string)

	mu       sync.Mutex
	troubles map[string]*trouble // by traveller and what
	bookings map[string]*booking // by the key of the action
	paid     map[string]int      // euros, by traveller
	numbers  int
}

// A booking is made once a key, however often it is asked for. One that was
// cancelled before it came is not made any more.
type booking struct {
	traveller, what, number string
	cancelled               bool
}

// A trouble is what goes wrong with something of a traveller's.
type trouble struct {
	no    string        // it is refused
	lost  bool          // it is booked, and nobody hears of it
	deaf  bool          // it never hears of it
	late  int           // it fails so often before it works
	stuck bool          // it cannot be cancelled
	at    chan struct{} // closed when somebody is at it
	wait  chan struct{} // they wait for this to be closed
}

// halt is a trouble that stops a trip, so that something can be done meanwhile.
func halt() *trouble { return &trouble{at: make(chan struct{}), wait: make(chan struct{})} }

func newWorld(tell func(line string)) *world {
	return &world{tell: tell, troubles: map[string]*trouble{}, bookings: map[string]*booking{}, paid: map[string]int{}}
}

// takes is how long it takes to answer: the hotel is slow.
func takes(what string) time.Duration {
	if what == "the hotel" {
		return 100 * time.Millisecond
	}
	return 10 * time.Millisecond
}

func (w *world) trouble(traveller, what string) *trouble {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.troubles[traveller+"/"+what]
	if t == nil {
		t = &trouble{}
		w.troubles[traveller+"/"+what] = t
	}
	return t
}

// does takes its time, and goes wrong if it is to.
func (w *world) does(ctx context.Context, traveller, what string) error {
	t := w.trouble(traveller, what)
	timer := time.NewTimer(takes(what))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if t.wait != nil {
		w.once(func() { close(t.at) }, t.at)
		select {
		case <-t.wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case t.no != "":
		w.tell(fmt.Sprintf("%s: %s", what, t.no))
		return saga.Permanent(errors.New(t.no))
	case t.late > 0:
		t.late--
		w.tell(fmt.Sprintf("%s: not yet", what))
		return errors.New("not yet")
	}
	return nil
}

// errBroke leaves open whether there is a booking.
var errBroke = saga.Uncertain(errors.New("the connection broke"))

// once calls f unless the channel is closed.
func (w *world) once(f func(), done chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-done:
	default:
		f()
	}
}

func (w *world) book(ctx context.Context, traveller, what string) (number string, err error) {
	if err := w.does(ctx, traveller, what); err != nil {
		return "", err
	}
	t := w.trouble(traveller, what)
	w.mu.Lock()
	defer w.mu.Unlock()
	key := saga.StepFrom(ctx).Key
	b := w.bookings[key]
	switch {
	case t.deaf:
		w.tell(what + " does not answer")
		return "", errBroke
	case b == nil:
		w.numbers++
		b = &booking{traveller: traveller, what: what, number: fmt.Sprint("B-", w.numbers)}
		w.bookings[key] = b
		if !t.lost {
			w.tell(what + " is booked")
		}
	case b.cancelled:
		return "", saga.Permanent(errors.New("it was cancelled before it came"))
	}
	if t.lost {
		w.tell(what + " does not answer")
		return "", errBroke
	}
	return b.number, nil
}

// cancel cancels what was booked under the key of the action. The number of the
// booking may be nowhere but here: who never heard it asks by the key.
func (w *world) cancel(ctx context.Context, traveller, what string, was saga.Outcome) error {
	t := w.trouble(traveller, what)
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.stuck {
		w.tell(what + " cannot be cancelled")
		return errors.New("the line is busy")
	}
	key := saga.StepFrom(ctx).ActionKey
	b := w.bookings[key]
	switch {
	case b == nil:
		w.bookings[key] = &booking{traveller: traveller, what: what, cancelled: true}
		w.tell(fmt.Sprintf("%s is not to be booked any more (its booking was %s)", what, was))
	case !b.cancelled:
		b.cancelled = true
		w.tell(fmt.Sprintf("%s is cancelled (its booking was %s)", what, was))
	}
	return nil
}

func (w *world) pay(ctx context.Context, traveller string, euros int) error {
	if err := w.does(ctx, traveller, "the card"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paid[traveller] == 0 { // its steps run at least once
		w.tell(fmt.Sprintf("%d euros are paid", euros))
	}
	w.paid[traveller] = euros
	return nil
}

// holds tells what a traveller has: what is booked and not cancelled, in words.
func (w *world) holds(traveller string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, b := range w.bookings {
		if b.traveller == traveller && !b.cancelled {
			list = append(list, b.what)
		}
	}
	slices.Sort(list)
	if euros := w.paid[traveller]; euros > 0 {
		list = append(list, fmt.Sprintf("%d euros less", euros))
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}
