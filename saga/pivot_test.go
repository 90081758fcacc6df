package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
)

// A pivot that somebody else does is in flight when the saga is cancelled, or has
// no time left: it may have gone past its point of no return, so nothing is
// undone before its answer is there. When it is done the saga goes forward.
func TestPivotElsewhereAgainstTheEnd(t *testing.T) {
	for _, kind := range []string{"remote", "callback"} {
		for _, order := range []string{"cancel", "time"} {
			for answer, want := range map[string]struct {
				status saga.Status
				undone bool
			}{
				"done":     {saga.Completed, false},
				"refused":  {saga.Compensated, true},
				"no reply": {saga.Blocked, false},
			} {
				t.Run(fmt.Sprint(kind, " ", order, " ", answer), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t)
						tokens := make(chan string, 1)
						w.scenario = &scenario{saga: func(p *provider, name string) *saga.Saga[trip] {
							pivot := p.remotePivot("P")
							if kind == "callback" {
								pivot = saga.Callback[trip, any]("P", func(ctx context.Context, _ *trip) error {
									tokens <- saga.StepFrom(ctx).Token
									return nil
								}, nil).Pivot().Timeout(20 * time.Second).Retry(saga.Once())
							}
							s := saga.New("trip", p.step(name, "A"), pivot, p.do(name, "Z"))
							if order == "time" {
								s = s.Within(25 * time.Second)
							}
							return s
						}}
						// A takes its time, so that the saga's is over before the pivot's is.
						w.provider.plan("A", plan{takes: 10 * time.Second})
						switch {
						case kind == "callback":
						case answer == "done":
							w.provider.plan("P", plan{takes: 18 * time.Second})
						case answer == "refused":
							w.provider.plan("P", plan{takes: 18 * time.Second, err: errNo})
						case answer == "no reply":
							w.service.mute = true
						}
						w.work("one", w.store)
						w.start()
						if order == "cancel" {
							w.cancelAfter(15 * time.Second)
						}
						if kind == "callback" {
							token := <-tokens
							time.Sleep(time.Until(w.begun.Add(28 * time.Second)))
							switch answer {
							case "done":
								if err := w.client.Complete(t.Context(), token, nil); err != nil {
									t.Error(err)
								}
							case "refused":
								if err := w.client.Fail(t.Context(), token, "No", ""); err != nil {
									t.Error(err)
								}
							}
						}
						x := w.wait()
						undone := slices.Contains(w.provider.lines(), "undo A (done)")
						if x.Status != want.status || undone != want.undone {
							t.Errorf("it is %s with its first step undone %t, want %s and %t", x.Status, undone, want.status, want.undone)
							logHistory(t, w.client)
						}
						refused, overdue := count(t, w.client, "1", saga.CancelRefused), count(t, w.client, "1", saga.ExecutionOverdue)
						switch {
						case order == "cancel" && answer == "refused":
							if x.Cause.Kind != saga.CauseCancelled || x.Cause.By != "ann" {
								t.Errorf("the cause is %+v, want the cancel", x.Cause)
							}
						case order == "cancel" && refused != 1:
							t.Errorf("the cancel was refused %d times, want once", refused)
						case order == "time" && answer == "done" && overdue != 1:
							t.Errorf("%d alerts that it is overdue, want one", overdue)
						}
					})
				})
			}
		}
	}
}

// remotePivot is a pivot that the service does.
func (p *provider) remotePivot(name string) *saga.Step[trip] {
	return saga.Remote(name, serviceQueue,
		func(s *trip) ([]string, error) { return s.Log, nil },
		func(s *trip, done string) error { s.Log = append(s.Log, done); return nil },
	).Pivot().Retry(saga.Once()).Timeout(20 * time.Second)
}

// What waits for the answer of a pivot waits through a crash, and a second cancel
// is refused. A pivot that is known to have had no effect is not tried again.
func TestCancelWaitsForAPivotElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scenario = &scenario{saga: func(p *provider, name string) *saga.Saga[trip] {
			return saga.New("trip", p.step(name, "A"), p.remotePivot("P").Retry(saga.Retry{}), p.do(name, "Z"))
		}}
		w.provider.plan("P", plan{takes: 15 * time.Second, err: errors.New("flaky")})
		w.work("one", w.store)
		w.start()
		w.cancelAfter(2 * time.Second)
		w.cancelAfter(2 * time.Second)
		w.stop("one")
		w.work("two", w.store)
		if x := w.wait(); x.Status != saga.Compensated || x.Cause.Kind != saga.CauseCancelled {
			t.Errorf("it is %s because of %+v, want it cancelled", x.Status, x.Cause)
		}
		if got, want := w.provider.lines(), []string{"do A", "do P", "undo A (done)"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if n := count(t, w.client, "1", saga.CancelRefused); n != 1 {
			t.Errorf("%d cancels were refused, want the second", n)
		}
		w.provider.audit(t, w.def, "1")
	})
}
