package saga_test

import (
	"errors"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// far has steps that a service does, before and after one of the worker's own.
func far(p *provider, w string) *saga.Saga[trip] {
	return saga.New("trip", p.remoteStep("A"), p.step(w, "B"), p.remoteStep("C"), p.do(w, "D"))
}

// farForked has remote steps in branches and items.
func farForked(p *provider, w string) *saga.Saga[trip] {
	items := func(*trip) []trip { return make([]trip, 2) }
	return saga.New("trip", p.remoteStep("A"),
		saga.Parallel("P",
			saga.Branch("x", p.remoteStep("X1"), saga.ForEach("M", items, nil, p.remoteStep("I"))),
			saga.Branch("y", p.step(w, "Y1"), p.remoteStep("Y2")),
		).Merge(func(*trip, []trip) error { return nil }),
		p.do(w, "D"))
}

// awaiting is for others: a service, a person and a signal.
func awaiting(p *provider, w string) *saga.Saga[trip] {
	return saga.New("trip", p.step(w, "A"), p.callback(w, "B"), saga.Receive[trip, int]("S", "go", nil), p.remoteStep("C"), p.do(w, "D"))
}

// signalled takes a signal, for which it waits long.
func signalled(p *provider, w string) *saga.Saga[trip] {
	return saga.New("trip", p.step(w, "A"), saga.Receive[trip, int]("S", "go", nil), p.do(w, "D"))
}

// far scenarios are those of executions that wait for somebody outside.
var farScenarios = []scenario{
	{
		name: "asks a service", saga: far, end: saga.Completed,
		plan:  func(p *provider) { p.plan("A", plan{takes: 3 * time.Second}) },
		lines: []string{"do A", "do B", "do C", "do D"},
	},
	{
		name: "asks a service to undo", saga: far, end: saga.Compensated,
		plan:  func(p *provider) { p.plan("D", plan{err: errNo}, plan{err: errNo}) },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "a service refuses", saga: far, end: saga.Compensated,
		plan:  func(p *provider) { p.plan("C", slices.Repeat([]plan{{err: errNo}}, 6)...) },
		lines: []string{"do A", "do B", "do C", "undo B (done)", "undo A (done)"},
	},
	{
		name: "a service does not know", saga: far, end: saga.Compensated,
		plan: func(p *provider) {
			p.plan("C", slices.Repeat([]plan{{err: saga.Permanent(errors.New("garbled")), anyway: true}}, 6)...)
		},
		lines: []string{"do A", "do B", "do C", "undo C (unknown)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "a service is flaky", saga: far, end: saga.Compensated,
		plan: func(p *provider) {
			flaky := plan{err: errors.New("flaky")}
			p.plan("A", flaky, flaky)
			p.plan("D", plan{err: errNo}, plan{err: errNo})
			p.plan("undo C", flaky, flaky)
		},
		ends: []saga.Status{saga.Completed},
		lines: []string{"do A", "do A", "do A", "do B", "do C", "do D",
			"undo C (done)", "undo C (done)", "undo C (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "a service is slow", saga: far, end: saga.Completed,
		// The answer to the first attempt comes while the second is under way.
		plan:  func(p *provider) { p.plan("A", plan{takes: 25 * time.Second}) },
		ends:  []saga.Status{saga.Compensated},
		lines: []string{"do A", "do B", "do C", "do D"},
	},
	{
		name: "a service answers twice", saga: far, end: saga.Compensated, twice: true,
		plan:  func(p *provider) { p.plan("D", plan{err: errNo}, plan{err: errNo}) },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "a service is not heard of for a while", saga: far, end: saga.Compensated, mute: true,
		drive: func(w *world) {
			w.wait() // until the undo has run out of attempts
			w.service.silence(false)
			w.retryWhenBlocked()
		},
		lines: []string{"do A", "undo A (unknown)"},
	},
	{
		name: "is cancelled while a service is at work", saga: far, end: saga.Compensated,
		plan:  func(p *provider) { p.plan("C", plan{takes: 10 * time.Second}) },
		drive: func(w *world) { w.cancelAfter(5 * time.Second) },
		lines: []string{"do A", "do B", "do C", "undo C (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "asks a service from branches", saga: farForked, end: saga.Completed, loose: true,
		plan: func(p *provider) {
			p.plan("Y1", plan{takes: 2 * time.Second})
			p.plan("I", plan{takes: 3 * time.Second})
		},
		lines: []string{"do A", "do D", "do I", "do I", "do X1", "do Y1", "do Y2"},
	},
	{
		name: "asks a service to undo branches", saga: farForked, end: saga.Compensated, loose: true,
		plan: func(p *provider) { p.plan("D", plan{err: errNo}, plan{err: errNo}) },
		ends: []saga.Status{saga.Completed},
		lines: []string{"do A", "do D", "do I", "do I", "do X1", "do Y1", "do Y2",
			"undo A (done)", "undo I (done)", "undo I (done)", "undo X1 (done)", "undo Y1 (done)", "undo Y2 (done)"},
	},
	{
		name: "a branch fails while a service works for others", saga: farForked, end: saga.Compensated, loose: true,
		plan: func(p *provider) {
			p.plan("Y2", plan{takes: time.Second, err: errNo}, plan{err: errNo}, plan{err: errNo}, plan{err: errNo})
			p.plan("I", plan{takes: 5 * time.Second}, plan{takes: 6 * time.Second, err: errors.New("garbled"), anyway: true})
		},
		lines: []string{"do A", "do I", "do I", "do X1", "do Y1", "do Y2",
			"undo A (done)", "undo I (done)", "undo I (unknown)", "undo X1 (done)", "undo Y1 (done)"},
	},
	{
		name: "waits for a person, a signal and a service", saga: awaiting, end: saga.Completed,
		drive: func(w *world) { w.signalAfter(3 * time.Minute) },
		lines: []string{"do A", "do B", "do C", "do D"},
	},
	{
		name: "undoes what a person has done", saga: awaiting, end: saga.Compensated,
		plan:  func(p *provider) { p.plan("D", slices.Repeat([]plan{{err: errNo}}, 3)...) },
		drive: func(w *world) { w.signalAfter(3 * time.Minute) },
		ends:  []saga.Status{saga.Completed},
		lines: []string{"do A", "do B", "do C", "do D", "undo C (done)", "undo B (done)", "undo A (done)"},
	},
	{
		name: "has a signal before it starts", saga: signalled, end: saga.Completed,
		early: func(w *world) { w.signalAfter(time.Second) },
		lines: []string{"do A", "do D"},
	},
	{
		name: "is cancelled while it waits for a person", saga: awaiting, end: saga.Compensated,
		drive: func(w *world) { w.cancelAfter(time.Minute) },
		lines: []string{"do A", "do B", "undo B (unknown)", "undo A (done)"},
	},
}
