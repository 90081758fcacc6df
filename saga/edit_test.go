package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-dev/waybill/saga"
	"github.com/waybill-dev/waybill/store"
	"github.com/waybill-dev/waybill/store/memstore"
)

// mended is an input that a compensation or step takes.
var mended = trip{Log: []string{"mended"}}

// undoMended refuses all states but the mended one.
func undoMended(j *journal, name string, refusal error) saga.Compensation[trip] {
	return func(ctx context.Context, s *trip, outcome saga.Outcome) error {
		info := saga.StepFrom(ctx)
		j.add("undo %s %s %v %s %d", name, outcome, s.Log, info.Key, info.Edits)
		if !slices.Equal(s.Log, mended.Log) {
			return refusal
		}
		return nil
	}
}

var errLost = saga.Permanent(saga.Uncertain(errors.New("the line was cut")))

// blockedTrip is an execution that is blocked at B's compensation.
func blockedTrip(t *testing.T, j *journal, st saga.Store, refusal error) (*saga.Saga[trip], *saga.Client) {
	t.Helper()
	s := saga.New("trip",
		saga.Do("A", j.do("A")).Undo(j.undo("A")),
		saga.Do("B", j.do("B")).Undo(undoMended(j, "B", refusal)),
		saga.Do("C", j.fail("C", errRefused)),
	)
	c := coordinate(t, saga.CoordinatorConfig{Store: st, Sagas: []saga.Definer{s}})
	if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrBlocked) {
		t.Fatal(err)
	}
	return s, c
}

// An operator gives a blocked compensation another input: it is tried under a key
// of its own, and those before it follow.
func TestEditOfACompensation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s, c := blockedTrip(t, &j, nil, errRefused)
		ann := saga.Order{By: "ann", Note: "another account"}
		for n, input := range []trip{{Log: []string{"worse"}}, mended} {
			if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: input, Step: "B"}, ann); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			x, err := c.Get(t.Context(), "1")
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 && (x.Status != saga.Blocked || x.Unsure || string(x.UndoInput) != `{"Log":["worse"]}`) {
				t.Errorf("blocked again, it is %+v", x)
			}
		}
		if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		want := []string{"do A", "do B", "fail C",
			"undo B done [A B] 1/1//B/1/undo 0", "undo B done [worse] 1/1//B/1/undo/2 1", "undo B done [mended] 1/1//B/1/undo/3 2", "undo A done [A]"}
		if got := j.all(); !slices.Equal(got, want) {
			t.Errorf("handlers ran\n%q, want\n%q", got, want)
		}
		h, err := c.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		var edits []string
		for _, e := range h {
			if e.Type == saga.CompensationEdited {
				edits = append(edits, fmt.Sprint(e.Step, e.By, e.Note, e.Outcome, string(e.State)))
			}
		}
		if want := []string{`Bannanother account{"Log":["worse"]}`, `Bannanother account{"Log":["mended"]}`}; !slices.Equal(edits, want) {
			t.Errorf("the history tells of\n%q, want\n%q", edits, want)
		}
	})
}

// An attempt under the old key that may have had its effect is confirmed first.
// Which outcome the new key's attempts have is another matter.
func TestEditWantsUnknownConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s, c := blockedTrip(t, &j, nil, errLost)
		for n, input := range []trip{{Log: []string{"worse"}}, mended} {
			x, err := c.Get(t.Context(), "1")
			if err != nil || !x.Unsure {
				t.Fatalf("edit %d: it does not say that it is unsure: %+v, %v", n, x, err)
			}
			err = c.RetryWith(t.Context(), "1", saga.Edit{Input: input}, saga.Order{})
			var unconfirmed *saga.UnconfirmedError
			if !errors.As(err, &unconfirmed) || *unconfirmed != (saga.UnconfirmedError{Execution: "1", Step: "B", Undo: true}) {
				t.Errorf("edit %d, not confirmed: %v", n, err)
			}
			if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: input, ConfirmUnknown: true}, saga.Order{By: "ann"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		h, err := c.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range h {
			if e.Type == saga.CompensationEdited && e.Outcome == saga.Unknown {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d edits say that an unknown attempt was confirmed, want 2", n)
		}
	})
}

// What was seen is not what is there: the execution decides, and says so.
func TestEditComesTooLate(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refusal error
		between func(c *saga.Client) error
		want    string
	}{
		{"after a retry", errRefused, func(c *saga.Client) error { return c.Retry(context.Background(), "1", saga.Order{}) },
			"step B was tried again since, as attempt 2: look at what came of that"},
		{"after a skip", errRefused, func(c *saga.Client) error { return c.Skip(context.Background(), "1", saga.Order{}) },
			""},
		{"after another edit", errRefused, func(c *saga.Client) error {
			return c.RetryWith(context.Background(), "1", saga.Edit{Input: trip{Log: []string{"worse"}}}, saga.Order{})
		}, "step B was tried again since, as attempt 2: look at what came of that"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				st := memstore.New(memstore.Config{})
				s, c := blockedTrip(t, &j, st, tt.refusal)
				slow := outsider(t, between(st, "Post", 1, func() {
					if err := tt.between(c); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Minute)
				}))
				err := slow.RetryWith(t.Context(), "1", saga.Edit{Input: mended}, saga.Order{})
				if tt.want == "" {
					if !errors.Is(err, store.ErrEnded) {
						t.Error(err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				h, err := c.History(t.Context(), "1")
				if err != nil {
					t.Fatal(err)
				}
				last := h[len(h)-1]
				if last.Type != saga.RetryRefused || last.Error != tt.want {
					t.Errorf("the last event is %+v, want the refusal %q", last, tt.want)
				}
				if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: mended}, saga.Order{}); err != nil {
					t.Error(err)
				}
				if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
					t.Error(err)
				}
			})
		})
	}
}

// The same order twice is one.
func TestEditIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		st := memstore.New(memstore.Config{})
		_, c := blockedTrip(t, &j, st, errRefused)
		out := outsider(t, st)
		for range 2 { // nobody has read the first when the second comes
			if err := out.RetryWith(t.Context(), "1", saga.Edit{Input: trip{Log: []string{"worse"}}}, saga.Order{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if n := count(t, c, "1", saga.CompensationEdited); n != 1 {
			t.Errorf("it was edited %d times", n)
		}
		if n := count(t, c, "1", saga.RetryRefused); n != 0 {
			t.Errorf("%d orders were refused", n)
		}
	})
}

// An order that was refused may be given again: what it was refused for may have
// been mended.
func TestEditIsGivenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		_, c := blockedTrip(t, &j, nil, errRefused)
		for n := range 2 {
			if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: 7}, saga.Order{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if refused := count(t, c, "1", saga.RetryRefused); refused != n+1 {
				t.Errorf("%d of %d orders were refused", refused, n+1)
			}
		}
	})
}

// What cannot be edited is refused, and nothing is changed.
func TestEditIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		hang := saga.New("hang", saga.Wait[trip]("W", time.Hour))
		s := saga.New("trip",
			saga.Parallel("P", saga.Branch("x", saga.Do("X", nothing).Undo(undoMended(&j, "X", errRefused))),
				saga.Branch("y", saga.Do("Y", nothing).Undo(undoMended(&j, "Y", errRefused)))).
				Merge(func(*trip, []trip) error { return nil }).UndoTogether(),
			saga.Do("C", j.fail("C", errRefused)),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s, hang}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrBlocked) {
			t.Fatal(err)
		}
		if _, err := hang.Start(t.Context(), c, "2", trip{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for _, tt := range []struct {
			id   string
			edit saga.Edit
			is   error
			want string
		}{
			{"2", saga.Edit{Input: mended}, saga.ErrNotBlocked, `execution "2"`},
			{"3", saga.Edit{Input: mended}, store.ErrNotFound, ""},
			{"1", saga.Edit{Input: mended}, nil, "is blocked at X in P:0, Y in P:1: say which one is meant"},
			{"1", saga.Edit{Input: mended, Step: "X"}, saga.ErrNotBlocked, "but at X in P:0, Y in P:1"},
			{"1", saga.Edit{Input: mended, Frame: "P:0", Step: "Y"}, saga.ErrNotBlocked, "but at"},
			{"1", saga.Edit{Input: func() {}}, nil, "edit an input"},
			{"1", saga.Edit{Input: strings.Repeat("x", 1<<20), Frame: "P:0"}, nil, "at most"},
		} {
			err := c.RetryWith(t.Context(), tt.id, tt.edit, saga.Order{})
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("edit %+v of %s: %v, want %v and %q", tt.edit, tt.id, err, tt.is, tt.want)
			}
		}
		// The execution knows what its steps take.
		if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: 7, Frame: "P:0"}, saga.Order{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		h, err := c.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if last := h[len(h)-1]; last.Type != saga.RetryRefused || !strings.HasPrefix(last.Error, "step X does not take the input: ") {
			t.Errorf("the last event is %+v", last)
		}
		// Each branch for itself.
		for _, frame := range []string{"P:0", "P:1"} {
			if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: mended, Frame: frame}, saga.Order{}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
		}
		if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		want := []string{"fail C", "undo X done [] 1/1/P:0/X/1/undo 0", "undo Y done [] 1/1/P:1/Y/1/undo 0",
			"undo X done [mended] 1/1/P:0/X/1/undo/2 1", "undo Y done [mended] 1/1/P:1/Y/1/undo/2 1"}
		got := j.all()
		slices.Sort(got[1:3])
		if !slices.Equal(got, want) {
			t.Errorf("handlers ran\n%q, want\n%q", got, want)
		}
	})
}

// A step that is blocked after the pivot is come to once more, with the new input
// as its state.
func TestEditOfAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := saga.New("trip",
			saga.Do("P", j.do("P")).Pivot(),
			saga.Do("Z", func(ctx context.Context, s *trip) error {
				j.add("do Z %v %s", s.Log, saga.StepFrom(ctx).Key)
				if !slices.Equal(s.Log, mended.Log) {
					return errLost
				}
				s.Log = append(s.Log, "Z")
				return nil
			}),
		)
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrBlocked) {
			t.Fatal(err)
		}
		var unconfirmed *saga.UnconfirmedError
		if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: mended}, saga.Order{}); !errors.As(err, &unconfirmed) || unconfirmed.Undo {
			t.Errorf("not confirmed: %v", err)
		}
		if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: mended, ConfirmUnknown: true}, saga.Order{By: "ann"}); err != nil {
			t.Fatal(err)
		}
		state, err := s.Wait(t.Context(), c, "1")
		if err != nil || !slices.Equal(state.Log, []string{"mended", "Z"}) {
			t.Errorf("it ended with %+v, %v", state, err)
		}
		if got, want := j.all(), []string{"do P", "do Z [P] 1/1//Z/1/do", "do Z [mended] 1/1//Z/2/do"}; !slices.Equal(got, want) {
			t.Errorf("handlers ran %q, want %q", got, want)
		}
		h, err := c.History(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		states := make(map[saga.EventType]string)
		for _, e := range h {
			if e.Step == "Z" || e.Type == saga.TaskStateExited && e.Step == "P" {
				states[e.Type] += e.Step + string(e.State)
			}
		}
		if got, want := states[saga.TaskEdited], `Z{"Log":["mended"]}`; got != want {
			t.Errorf("the history has the edited state %s, want %s", got, want)
		}
		if got, want := states[saga.TaskStateExited], `P{"Log":["P"]}Z{"Log":["mended","Z"]}`; got != want {
			t.Errorf("the history has the states %s, want %s", got, want)
		}
	})
}

// A pivot that may be done is one, whatever comes of its second visit.
func TestEditOfAnUnknownPivot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := saga.New("trip", saga.Do("A", j.do("A")).Undo(j.undo("A")),
			saga.Do("P", func(_ context.Context, s *trip) error {
				if slices.Equal(s.Log, mended.Log) {
					return errRefused
				}
				return errLost
			}).Pivot())
		c := coordinate(t, saga.CoordinatorConfig{Sagas: []saga.Definer{s}})
		if _, err := s.Run(t.Context(), c, "1", trip{}); !errors.Is(err, saga.ErrBlocked) {
			t.Fatal(err)
		}
		if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: mended, ConfirmUnknown: true}, saga.Order{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if x, err := c.Get(t.Context(), "1"); err != nil || x.Status != saga.Blocked || count(t, c, "1", saga.TaskEdited) != 1 {
			t.Errorf("it is %+v, %v", x, err)
		}
		if got, want := j.all(), []string{"do A"}; !slices.Equal(got, want) {
			t.Errorf("handlers ran %q, want %q", got, want)
		}
	})
}

// A participant gets a command of another key. What it replies to the old one,
// late, is not taken for the answer to the new one.
func TestEditOfARemoteUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &post{t: t, serve: func(c sentCommand) *replied {
			switch {
			case c.Command == "do":
				return &replied{outcome: "done", result: `{"ID": "ch-1"}`, after: time.Second}
			case strings.HasSuffix(c.Key, "/undo"):
				return &replied{outcome: "done", after: 62 * time.Second} // of a minute
			}
			return &replied{outcome: "done", after: 30 * time.Second}
		}}
		s := remoteSaga(func(s *saga.Step[bill]) *saga.Step[bill] { return s.UndoRetry(saga.Once()) })
		co, stop := run(t, saga.CoordinatorConfig{Store: memstore.New(memstore.Config{}), Sagas: []saga.Definer{s}, Publisher: p, ReplyTo: "replies"})
		p.reply = co.HandleMessage
		defer func() {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}()
		c := co.Client()
		if _, err := s.Run(t.Context(), c, "1", bill{Cents: 13}); !errors.Is(err, saga.ErrBlocked) {
			t.Fatal(err)
		}
		if err := c.RetryWith(t.Context(), "1", saga.Edit{Input: bill{Cents: 14}, ConfirmUnknown: true}, saga.Order{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // the old reply has come
		if n := count(t, c, "1", saga.MailDiscarded); n != 1 {
			t.Errorf("%d replies were discarded, want the old key's", n)
		}
		if n := count(t, c, "1", saga.CompensationDone); n != 0 {
			t.Error("the reply to the old key's command was taken for the new one's")
		}
		if _, err := s.Wait(t.Context(), c, "1"); !errors.Is(err, saga.ErrCompensated) {
			t.Error(err)
		}
		p.mu.Lock()
		last := p.orders[len(p.orders)-1]
		p.mu.Unlock()
		if last.Key != "1/1//Charge/1/undo/2" || last.Attempt != 2 || string(last.Input) != `{"Cents":14}` {
			t.Errorf("the last command is %+v", last)
		}
		time.Sleep(2 * time.Minute) // for replies to commands that were sent again
	})
}
