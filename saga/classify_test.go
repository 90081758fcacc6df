package saga_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store/memstore"
)

// An sdkError is somebody else's, which package saga knows nothing of.
type sdkError struct{ code string }

func (e *sdkError) Error() string { return "sdk: " + e.code }

var (
	errLostAnswer = &sdkError{"lost"}
	errOverdrawn  = &sdkError{"overdrawn"}
	errThrottled  = &sdkError{"throttled"}
)

// bySDK knows the codes of an sdkError.
func bySDK(err error) error {
	var sdk *sdkError
	if !errors.As(err, &sdk) {
		return err
	}
	switch sdk.code {
	case "lost":
		return saga.Uncertain(err)
	case "overdrawn":
		return saga.NoEffect(saga.Permanent(saga.Named("Overdrawn", err)))
	case "panic":
		panic("out of codes")
	case "exit":
		runtime.Goexit()
	case "nil":
		return nil
	}
	return saga.Named("Throttled", err)
}

// asks counts what a classifier is asked.
func asks(j *journal, name string, classify func(error) error) func(error) error {
	return func(err error) error {
		j.add("%s? %v", name, err)
		return classify(err)
	}
}

// attempts are the failed attempts in an execution's history.
func attempts(t *testing.T, c *saga.Client, id string) (lines []string) {
	t.Helper()
	h, err := c.History(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range h {
		switch e.Type {
		case saga.TaskFailed, saga.TaskTimedOut, saga.CompensationFailed:
			lines = append(lines, fmt.Sprintf("%s %s %d: %s [%s]: %s", e.Type, e.Step, e.Attempt, e.Outcome, e.Name, e.Error))
			if e.Stack != "" {
				lines = append(lines, "with a stack")
			}
		}
	}
	return lines
}

// What an action's error is classified as decides whether it is retried, undone and
// caught, and is what the history has.
func TestClassifyAction(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want []string // what is done
		fail []string // in the history
		asks int
	}{
		{"unknown", errLostAnswer, []string{"undo B unknown []"},
			[]string{"TaskTimedOut B 1: unknown []: sdk: lost", "TaskTimedOut B 2: unknown []: sdk: lost"}, 2},
		{"refused, by a name that is caught", fmt.Errorf("charge: %w", errOverdrawn), []string{"do Beg"},
			[]string{"TaskFailed B 1: not done [Overdrawn]: charge: sdk: overdrawn"}, 1},
		{"named", errThrottled, nil,
			[]string{"TaskFailed B 1: not done [Throttled]: sdk: throttled", "TaskFailed B 2: not done [Throttled]: sdk: throttled"}, 2},
		{"against the look of it", fmt.Errorf("%w: %w", io.EOF, errOverdrawn), []string{"do Beg"},
			[]string{"TaskFailed B 1: not done [Overdrawn]: EOF: sdk: overdrawn"}, 1},
		{"left as it is", io.EOF, []string{"undo B unknown []"},
			[]string{"TaskTimedOut B 1: unknown []: EOF", "TaskTimedOut B 2: unknown []: EOF"}, 2},
		{"nil is no success", &sdkError{"nil"}, nil,
			[]string{"TaskFailed B 1: not done []: sdk: nil", "TaskFailed B 2: not done []: sdk: nil"}, 2},
		{"a panic", &sdkError{"panic"}, []string{"undo B unknown []"}, []string{
			"TaskTimedOut B 1: unknown []: sdk: panic (to classify it: panic: out of codes)", "with a stack",
			"TaskTimedOut B 2: unknown []: sdk: panic (to classify it: panic: out of codes)", "with a stack"}, 2},
		{"the end of its goroutine", &sdkError{"exit"}, []string{"undo B unknown []"}, []string{
			"TaskTimedOut B 1: unknown []: the handler called runtime.Goexit",
			"TaskTimedOut B 2: unknown []: the handler called runtime.Goexit"}, 2},
		{"said to be without an effect", saga.NoEffect(errLostAnswer), nil,
			[]string{"TaskFailed B 1: not done []: sdk: lost", "TaskFailed B 2: not done []: sdk: lost"}, 0},
		{"said to be permanent", saga.Permanent(errLostAnswer), nil, []string{"TaskFailed B 1: not done []: sdk: lost"}, 0},
		{"said to be permanent by a method", fmt.Errorf("%w: %w", saga.Permanent(errOverdrawn), decided{}), nil,
			[]string{"TaskFailed B 1: not done []: sdk: overdrawn: decided"}, 0},
		{"a method that says nothing", fmt.Errorf("%w: %w", errOverdrawn, undecided{}), []string{"do Beg"},
			[]string{"TaskFailed B 1: not done [Overdrawn]: sdk: overdrawn: undecided"}, 1},
		{"named already", saga.Named("Mine", errLostAnswer), nil,
			[]string{"TaskFailed B 1: not done [Mine]: sdk: lost", "TaskFailed B 2: not done [Mine]: sdk: lost"}, 0},
		{"joined with one that is said", errors.Join(saga.Permanent(errors.New("no")), errLostAnswer), []string{"undo B unknown []"},
			[]string{"TaskTimedOut B 1: unknown []: no\nsdk: lost"}, 1},
		{"joined with one that is uncertain", errors.Join(saga.Uncertain(errors.New("half")), errOverdrawn), []string{"undo B unknown []", "do Beg"},
			[]string{"TaskTimedOut B 1: unknown [Overdrawn]: half\nsdk: overdrawn"}, 1},
	}
	for _, tt := range tests {
		for _, where := range []string{"the step's", "the coordinator's"} {
			t.Run(tt.name+", "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var did, asked journal
					b := saga.Do("B", func(context.Context, *trip) error { return tt.err }).Undo(did.undo("B")).
						Retry(saga.Retry{Attempts: 2}).Catch("Beg", "Overdrawn")
					cfg := saga.CoordinatorConfig{}
					if where == "the step's" {
						b.Classify(asks(&asked, "step", bySDK))
					} else {
						cfg.Classify = asks(&asked, "all", bySDK)
					}
					cfg.Sagas = []saga.Definer{saga.New("trip", b.End(), saga.Do("Beg", did.do("Beg")))}
					c := coordinate(t, cfg)
					_, _ = cfg.Sagas[0].(*saga.Saga[trip]).Run(t.Context(), c, "1", trip{})
					if got := did.all(); !slices.Equal(got, tt.want) {
						t.Errorf("done %q, want %q", got, tt.want)
					}
					if got := attempts(t, c, "1"); !slices.Equal(got, tt.fail) {
						t.Errorf("in the history\n%q, want\n%q", got, tt.fail)
					}
					if got := asked.all(); len(got) != tt.asks {
						t.Errorf("asked %q, want that %d times", got, tt.asks)
					}
				})
			})
		}
	}
}

type decided struct{}

func (decided) Error() string   { return "decided" }
func (decided) Permanent() bool { return true }

type undecided struct{}

func (undecided) Error() string   { return "undecided" }
func (undecided) Permanent() bool { return false }

// What a compensation's error is classified as decides whether it is tried again.
func TestClassifyUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var did, asked journal
		fails := []error{errLostAnswer, errOverdrawn}
		s := saga.New("trip",
			saga.Do("A", did.do("A")).Undo(func(ctx context.Context, _ *trip, _ saga.Outcome) error {
				return fails[saga.StepFrom(ctx).Attempt-1]
			}).Classify(asks(&asked, "step", bySDK)),
			saga.Do("B", did.fail("B", errRefused)))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, err := s.Run(t.Context(), c, "1", trip{})
		var failed *saga.FailedError
		if !errors.As(err, &failed) || failed.Status != saga.Blocked || failed.Cause.Name != "Overdrawn" || !failed.Cause.Undo {
			t.Fatalf("got %v, want it blocked by the second error, which is permanent", err)
		}
		want := []string{"TaskFailed B 1: not done []: refused",
			"CompensationFailed A 1: unknown []: sdk: lost", "CompensationFailed A 2: not done [Overdrawn]: sdk: overdrawn"}
		if got := attempts(t, c, "1"); !slices.Equal(got, want) {
			t.Errorf("in the history\n%q, want\n%q", got, want)
		}
		if got, want := asked.all(), []string{"step? sdk: lost", "step? sdk: overdrawn"}; !slices.Equal(got, want) {
			t.Errorf("asked %q, want %q", got, want)
		}
		var unsure *saga.UnconfirmedError // the classified outcome is in the undo record
		err = c.RetryWith(t.Context(), "1", saga.Edit{Input: trip{}}, saga.Order{By: "ann"})
		if !errors.As(err, &unsure) {
			t.Errorf("an edit after an unknown attempt: %v, want it to be confirmed", err)
		}
	})
}

// The step's own classifier comes first, and the coordinator's is asked about what it
// leaves as it is.
func TestClassifyInOrder(t *testing.T) {
	tests := []struct {
		name string
		step func(error) error
		asks []string
		want string
	}{
		{"the step says it", bySDK, []string{"step? sdk: lost"}, "unknown []"},
		{"the step leaves it", func(err error) error { return err }, []string{"step? sdk: lost", "all? sdk: lost"}, "not done [Default]"},
		{"the step has nothing to say", func(error) error { return nil }, []string{"step? sdk: lost", "all? sdk: lost"}, "not done [Default]"},
		{"the step words it anew", func(err error) error { return fmt.Errorf("charge: %w", err) },
			[]string{"step? sdk: lost", "all? charge: sdk: lost"}, "not done [Default]"},
		{"the step panics", func(error) error { panic("oh") }, []string{"step? sdk: lost"}, "unknown []"},
		{"there is no step's", nil, []string{"all? sdk: lost"}, "not done [Default]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var did, asked journal
				a := saga.Do("A", did.fail("A", errLostAnswer)).Retry(saga.Once())
				if tt.step != nil {
					a.Classify(asks(&asked, "step", tt.step))
				}
				s := saga.New("trip", a)
				c := coordinate(t, saga.CoordinatorConfig{
					Sagas:    []saga.Definer{s},
					Classify: asks(&asked, "all", func(err error) error { return saga.NoEffect(saga.Named("Default", err)) }),
				})
				_, _ = s.Run(t.Context(), c, "1", trip{})
				if got := asked.all(); !slices.Equal(got, tt.asks) {
					t.Errorf("asked %q, want %q", got, tt.asks)
				}
				if got := attempts(t, c, "1"); len(got) == 0 || !strings.HasPrefix(got[0], "TaskFailed A 1: "+tt.want) && !strings.HasPrefix(got[0], "TaskTimedOut A 1: "+tt.want) {
					t.Errorf("in the history %q, want %s", got, tt.want)
				}
			})
		})
	}
}

// When the context that a handler was given has ended, what its error means is not
// the classifiers' business: nobody knows what was done.
func TestClassifyNothingAfterTheEndOfTheContext(t *testing.T) {
	tests := []struct {
		name string
		step func(*saga.Step[trip]) *saga.Step[trip]
		want string
	}{
		{"the timeout", func(s *saga.Step[trip]) *saga.Step[trip] { return s.Timeout(time.Second) }, "TaskTimedOut A 1: unknown []: sdk: overdrawn"},
		{"the heartbeat", func(s *saga.Step[trip]) *saga.Step[trip] { return s.Heartbeat(time.Second) },
			"TaskTimedOut A 1: unknown [States.HeartbeatTimeout]: the handler's heartbeat has stopped: sdk: overdrawn"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var did, asked journal
				s := saga.New("trip", tt.step(saga.Do("A", func(ctx context.Context, _ *trip) error {
					<-ctx.Done()
					return errOverdrawn
				}).Retry(saga.Once()).Undo(did.undo("A")).Classify(asks(&asked, "step", bySDK))))
				c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Classify: asks(&asked, "all", bySDK)})
				_, _ = s.Run(t.Context(), c, "1", trip{})
				if got := attempts(t, c, "1"); !slices.Equal(got, []string{tt.want}) {
					t.Errorf("in the history %q, want %q", got, tt.want)
				}
				if got := did.all(); !slices.Equal(got, []string{"undo A unknown []"}) {
					t.Errorf("done %q", got)
				}
				if got := asked.all(); len(got) > 0 {
					t.Errorf("asked %q", got)
				}
			})
		})
	}
}

// A deadline that the handler has made for itself is its own error, as any other.
func TestClassifyTheHandlersOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		}).Retry(saga.Once()).Classify(func(err error) error { return saga.NoEffect(err) }))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, _ = s.Run(t.Context(), c, "1", trip{})
		want := []string{"TaskFailed A 1: not done [States.Timeout]: context deadline exceeded"}
		if got := attempts(t, c, "1"); !slices.Equal(got, want) {
			t.Errorf("in the history %q, want %q", got, want)
		}
	})
}

// A slow classifier is in its handler's time, and in nobody's way.
func TestClassifyTakesTheHandlersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := saga.New("trip", saga.Do("A", func(ctx context.Context, _ *trip) error { return errOverdrawn }).
			Timeout(5*time.Minute).Retry(saga.Once()).Classify(func(err error) error {
			time.Sleep(3 * time.Minute) // many leases
			return bySDK(err)
		}))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		_, _ = s.Run(t.Context(), c, "1", trip{})
		want := []string{"TaskFailed A 1: not done [Overdrawn]: sdk: overdrawn"}
		if got := attempts(t, c, "1"); !slices.Equal(got, want) {
			t.Errorf("in the history %q, want %q", got, want)
		}
	})
}

// A handler that panics is not a classifier's business.
func TestClassifyNoPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked journal
		s := saga.New("trip", saga.Do("A", func(context.Context, *trip) error { panic("oh") }).Retry(saga.Once()))
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}, Classify: asks(&asked, "all", saga.NoEffect)})
		_, _ = s.Run(t.Context(), c, "1", trip{})
		if got, want := attempts(t, c, "1"), []string{"TaskTimedOut A 1: unknown []: panic: oh", "with a stack"}; !slices.Equal(got, want) {
			t.Errorf("in the history %q, want %q", got, want)
		}
		if got := asked.all(); len(got) > 0 {
			t.Errorf("asked %q", got)
		}
	})
}

// Steps in branches, items and the parts of a Map are classified as others are.
func TestClassifyWithinItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked journal
		items := func(*trip) []trip { return make([]trip, 3) }
		s := saga.New("trip", saga.ForEach("M", items, nil,
			saga.Do("I", func(context.Context, *trip) error { return errOverdrawn }).Irreversible().Classify(asks(&asked, "step", bySDK))).Tolerate(3))
		saga.SetMapSize(s, 2, 2)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); err != nil {
			t.Error(err)
		}
		if got := asked.all(); len(got) != 3 {
			t.Errorf("asked %q, want once for each item, which then is not tried again", got)
		}
	})
}

// A participant replies what its handlers' errors are classified as.
func TestParticipantClassifies(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
		asks []string
	}{
		{"by the step", errOverdrawn, "not done for good [Overdrawn]: sdk: overdrawn", []string{"step? sdk: overdrawn"}},
		{"unknown", errLostAnswer, "unknown: sdk: lost", []string{"step? sdk: lost"}},
		{"by the participant", errors.New("odd"), "unknown [Odd]: odd", []string{"step? odd", "all? odd"}},
		{"not what is said already", saga.NoEffect(errLostAnswer), "not done: sdk: lost", nil},
		{"a panic", &sdkError{"panic"}, "unknown: sdk: panic (to classify it: panic: out of codes)", []string{"step? sdk: panic"}},
		{"the end of its goroutine", &sdkError{"exit"}, "unknown: the handler called runtime.Goexit", []string{"step? sdk: exit"}},
		{"nil is no success", &sdkError{"nil"}, "unknown [Odd]: sdk: nil", []string{"step? sdk: nil", "all? sdk: nil"}},
		{"after its time", nil, "unknown [States.Timeout]: the time of the attempt is over: context deadline exceeded: sdk: overdrawn", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked journal
				d := newDesk(t, memstore.New(memstore.Config{}))
				fail := func(ctx context.Context) error {
					if tt.err == nil {
						<-ctx.Done()
						return errOverdrawn
					}
					return tt.err
				}
				p, err := saga.NewParticipant(saga.ParticipantConfig{
					Records: memstore.New(memstore.Config{}), Publisher: d,
					Steps: []saga.Served{saga.Serve("Charge", func(ctx context.Context, r chargeRequest) (chargeResult, error) {
						return chargeResult{}, fail(ctx)
					}).Undo(func(ctx context.Context, _ chargeRequest, _ saga.Outcome, _ *chargeResult) error { return fail(ctx) }).
						Classify(asks(&asked, "step", bySDK))},
					Classify: asks(&asked, "all", func(err error) error { return saga.Uncertain(saga.Named("Odd", err)) }),
				})
				if err != nil {
					t.Fatal(err)
				}
				d.Participant = p
				first := do(1)
				d.handle(first)
				d.handle(first) // which is answered alike, and asks nobody
				d.expect("the action", nil, []string{"do 1: " + tt.want, "do 1: " + tt.want})
				d.handle(undo(1))
				d.expect("its undo", nil, []string{"undo 1: " + tt.want})
				if got, want := asked.all(), slices.Concat(tt.asks, tt.asks); !slices.Equal(got, want) {
					t.Errorf("asked %q, want %q", got, want)
				}
			})
		})
	}
}

// A classifier is no part of the version, and belongs where a handler is.
func TestClassifyInTheDefinition(t *testing.T) {
	fare := func(change func(*saga.Step[trip])) *saga.Saga[trip] {
		s := saga.Do("A", nothing).ReadOnly()
		change(s)
		return saga.New("trip", s)
	}
	with, without := fare(func(s *saga.Step[trip]) { s.Classify(bySDK) }), fare(func(*saga.Step[trip]) {})
	if a, b := with.Definition().Version(), without.Definition().Version(); a != b {
		t.Errorf("the version is %s with a classifier, and %s without", a, b)
	}
	request := func(*trip) (int, error) { return 1, nil }
	remote := func() *saga.Step[trip] { return saga.Remote[trip, int, int]("A", "there", request, nil) }
	for name, s := range map[string]*saga.Step[trip]{
		"a Wait":            saga.Wait[trip]("A", time.Second),
		"a Receive":         saga.Receive[trip, int]("A", "go", nil),
		"a Remote":          remote().ReadOnly(),
		"a Remote's remote": remote().UndoRemote(),
	} {
		if err := saga.New("trip", s.Classify(bySDK)).Validate(); err == nil || !strings.Contains(err.Error(), `step "A": it has no action or Undo here`) {
			t.Errorf("%s with a classifier: %v", name, err)
		}
	}
	for name, s := range map[string]*saga.Step[trip]{
		"a Callback":            saga.Callback[trip, int]("A", nothing, nil).ReadOnly(),
		"the undo of a Remote":  remote().Undo(func(context.Context, *trip, saga.Outcome) error { return nil }),
		"nil, which is no such": saga.Wait[trip]("A", time.Second).Classify(nil),
	} {
		if name != "nil, which is no such" {
			s.Classify(bySDK)
		}
		if err := saga.New("trip", s).Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
