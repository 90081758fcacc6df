package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/storetest"
)

// serviceQueue is where the commands of a world's remote steps go.
const serviceQueue = "there"

// A service does the remote steps of a world with its provider, as a participant
// must: it has an effect once a key, remembers what came of each attempt, and
// refuses what comes after its time, after a later attempt or after its undo.
type service struct {
	world   *world
	twice   bool                     // its replies come twice
	mute    bool                     // its replies never come
	at      func(c sentCommand)      // nil, or is told of each command before the send returns
	hold    func(c sentCommand) bool // nil, or tells which commands are held back
	mu      sync.Mutex
	busy    map[string]bool      // by what keys of do and undo share
	undone  map[string]time.Time // when the undo was published, the same
	highest map[string]int       // attempt, by key
	answers map[string][]byte    // by key, and where not done by key and attempt
	sent    map[string][]string  // commands, by execution, in the order in which they were published
	latest  sentCommand
}

func newService(w *world) *service {
	return &service{
		world: w, busy: make(map[string]bool), undone: make(map[string]time.Time), highest: make(map[string]int),
		answers: make(map[string][]byte), sent: make(map[string][]string),
	}
}

// remoteStep is a step that the service does and undoes.
func (p *provider) remoteStep(name string) *saga.Step[trip] {
	return saga.Remote(name, serviceQueue,
		func(s *trip) ([]string, error) { return s.Log, nil },
		func(s *trip, done string) error { s.Log = append(s.Log, done); return nil },
	).UndoRemote().Retry(saga.Retry{Attempts: 6, Initial: 700 * time.Millisecond, Factor: 3, Jitter: -1}).Timeout(20 * time.Second)
}

// published notes a command on its way, and holds it to what must be true
// whatever went wrong before.
func (s *service) published(c sentCommand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[c.Execution], s.latest = append(s.sent[c.Execution], c.String()), c
	base, _, _ := cutLast(c.Key, "/")
	now, undone := time.Now(), s.undone[base]
	if c.Command == "do" && !undone.IsZero() && now.After(undone) && now.UnixMilli() <= c.NotAfter {
		s.world.provider.problem("%v of %s is sent after its undo, and may be begun", c, c.Execution)
	}
	if c.Command == "undo" {
		s.undone[base] = now
	}
}

// commands are what was published for an execution.
func (s *service) commands(execution string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent[execution])
}

// last is the command that was published last.
func (s *service) last() sentCommand {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

// deliver brings a command, again and again until the service is through with it.
func (s *service) deliver(c sentCommand) {
	s.world.errands.Go(func() {
		for range 100 {
			answer, again := s.handle(c)
			if !again {
				s.reply(answer)
				return
			}
			time.Sleep(time.Second)
		}
	})
}

// handle is the service's work. It reports whether the command is to come again,
// because another one is being worked on.
func (s *service) handle(c sentCommand) (answer []byte, again bool) {
	base, _, _ := cutLast(c.Key, "/")
	attempt := fmt.Sprint(c.Key, "#", c.Attempt)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.busy[base]:
		return nil, true
	case s.answers[c.Key] != nil:
		return s.answers[c.Key], false
	case s.answers[attempt] != nil:
		return s.answers[attempt], false
	case c.Attempt < s.highest[c.Key], time.Now().UnixMilli() > c.NotAfter:
		return nil, false
	case c.Command == "do" && s.highest[base+"/undo"] > 0:
		return replyTo(c, "not done", "it was undone", true), false
	}
	s.highest[c.Key], s.busy[base] = c.Attempt, true
	s.mu.Unlock()
	outcome, err := s.work(c)
	s.mu.Lock()
	s.busy[base] = false
	if outcome == saga.Done {
		s.answers[c.Key] = replyTo(c, string(outcome), "", false)
		return s.answers[c.Key], false
	}
	answer = replyTo(c, string(outcome), err.Error(), permanent(err))
	s.answers[attempt] = answer
	return answer, false
}

// work asks the provider.
func (s *service) work(c sentCommand) (saga.Outcome, error) {
	p, info := s.world.provider, saga.StepInfo{
		Execution: c.Execution, Frame: c.Frame, Step: c.Step, Visit: c.Visit, Attempt: c.Attempt, Undo: c.Command == "undo", Key: c.Key,
	}
	what, n := p.begin("service", info, saga.Outcome(c.Outcome), false)
	time.Sleep(what.takes)
	if what.err == nil || what.anyway {
		if err := p.have("service", info, n); err != nil {
			return saga.Unknown, err
		}
	}
	if what.err == nil {
		return saga.Done, nil
	}
	if what.anyway {
		return saga.Unknown, what.err
	}
	return saga.NotDone, what.err
}

func replyTo(c sentCommand, outcome, cause string, permanent bool) []byte {
	body := map[string]any{
		"waybill": 1, "reply": c.Command, "key": c.Key, "execution": c.Execution, "frame": c.Frame, "step": c.Step, "visit": c.Visit,
		"attempt": c.Attempt, "commit": c.Commit, "outcome": outcome, "cause": cause, "permanent": permanent, "result": c.Step,
	}
	data, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return data
}

// reply brings a reply to a coordinator, as a queue does: again, until one has
// taken it.
func (s *service) reply(answer []byte) {
	s.mu.Lock()
	times := 1
	switch {
	case answer == nil, s.mute:
		times = 0
	case s.twice:
		times = 2
	}
	s.mu.Unlock()
	for range times {
		if err := s.world.handle(answer); err != nil {
			s.world.Errorf("the reply %s: %v", answer, err)
		}
	}
}

// silence keeps its replies back from now on, or lets them come.
func (s *service) silence(mute bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = mute
}

// handle gives a message to a coordinator until one has taken it, or has refused
// it for good.
func (w *world) handle(body []byte) error {
	var err error
	for range 300 {
		if k := w.anyone(); k != nil {
			if err = k.coordinator.HandleMessage(message.NewMessage("m", body)); err == nil || permanent(err) {
				return err
			}
		}
		time.Sleep(time.Second)
	}
	return fmt.Errorf("nobody takes it: %w", err)
}

// anyone is the first of the workers that there are.
func (w *world) anyone() *worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := make([]string, 0, len(w.workers))
	for name := range w.workers {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 0 {
		return nil
	}
	return w.workers[names[0]]
}

// A wire is a worker's Publisher. Commands go to the service, and all else to the
// bell.
type wire struct {
	world *world
	fault func(storetest.Call) storetest.Fault // nil: none
}

func (wr wire) Close() error { return nil }

func (wr wire) Publish(topic string, messages ...*message.Message) error {
	var fault storetest.Fault
	if wr.fault != nil {
		fault = wr.fault(storetest.Call{Op: "Publish", ID: topic})
	}
	time.Sleep(fault.Delay)
	if fault.Before != nil {
		return fault.Before
	}
	if err := wr.send(topic, messages); err != nil {
		return err
	}
	if fault.Twice {
		if err := wr.send(topic, messages); err != nil {
			return err
		}
	}
	time.Sleep(fault.Late)
	return fault.After
}

func (wr wire) send(topic string, messages []*message.Message) error {
	if topic != serviceQueue {
		return wr.world.bell.Publish(topic, messages...)
	}
	for _, m := range messages {
		var c sentCommand
		if err := json.Unmarshal(m.Payload, &c); err != nil {
			return err
		}
		wr.world.service.published(c)
		if at := wr.world.service.at; at != nil {
			at(c)
			continue
		}
		if hold := wr.world.service.hold; hold != nil && hold(c) {
			continue
		}
		wr.world.service.deliver(c)
	}
	return nil
}

// cutLast cuts at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// A person is asked by Callback steps, and takes a while to answer each token,
// once.
type person struct {
	world *world
	mu    sync.Mutex
	asked map[string]bool
}

// callback is a step that a person completes.
func (p *provider) callback(worker, name string) *saga.Step[trip] {
	return saga.Callback(name, func(ctx context.Context, s *trip) error {
		if err := p.serve(ctx, worker, ""); err != nil {
			return err
		}
		p.person.ask(saga.StepFrom(ctx).Token)
		return nil
	}, func(s *trip, by string) error { s.Log = append(s.Log, by); return nil }).
		Undo(func(ctx context.Context, _ *trip, outcome saga.Outcome) error { return p.serve(ctx, worker, outcome) }).
		Retry(saga.Retry{Attempts: 6, Initial: 700 * time.Millisecond, Factor: 3, Jitter: -1}).Timeout(10 * time.Minute)
}

func (a *person) ask(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked[token] {
		return
	}
	a.asked[token] = true
	a.world.errands.Go(func() {
		time.Sleep(90 * time.Second)
		body, err := json.Marshal(map[string]any{"waybill": 1, "complete": token, "result": "ann"})
		if err != nil {
			panic(err)
		}
		if err := a.world.handle(body); err != nil && !errors.Is(err, saga.ErrToken) {
			a.world.Errorf("complete: %v", err)
		}
	})
}
