package saga

import (
	"strings"
	"testing"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// What a reply tells of the chain: whether it can have the commit that sent its
// command. The execution is at attempt 2 of A, under the lease 5.N.
func TestWhatTheChainLacks(t *testing.T) {
	const own, before = "5.N.2", "4.M.3" // the last commits, of this opening and of those before
	for name, tt := range map[string]struct {
		commit  string
		attempt int
		change  func(a *actor, f *frame, r *replyMessage)
		lost    bool
	}{
		"no commit":                                   {commit: "", attempt: 2},
		"what is no commit's id":                      {commit: "whatever", attempt: 2},
		"one of too many parts":                       {commit: "6.N.1.1", attempt: 1},
		"one without an epoch":                        {commit: "x.N.9", attempt: 1},
		"one without a number":                        {commit: "6.N.x", attempt: 1},
		"the last":                                    {commit: own, attempt: 2},
		"one before":                                  {commit: "5.N.1", attempt: 1},
		"one to come":                                 {commit: "5.N.3", attempt: 1, lost: true},
		"the last before this opening":                {commit: before, attempt: 1},
		"one after that":                              {commit: "4.M.4", attempt: 1, lost: true},
		"one of another with its epoch":               {commit: "4.O.1", attempt: 1, lost: true},
		"one of another with this epoch":              {commit: "5.O.1", attempt: 1, lost: true},
		"one of an epoch to come":                     {commit: "6.O.1", attempt: 1, lost: true},
		"one of long ago, which may be":               {commit: "3.O.9", attempt: 1},
		"one that did not send this attempt":          {commit: "4.M.1", attempt: 2, lost: true},
		"one that sent an earlier attempt":            {commit: "4.M.1", attempt: 1},
		"one of an attempt that is answered":          {commit: "4.M.1", attempt: 2, change: func(_ *actor, f *frame, _ *replyMessage) { f.Waiting = false }},
		"one of an attempt whose commit is not known": {commit: "4.M.1", attempt: 2, change: func(_ *actor, f *frame, _ *replyMessage) { f.Sent = "" }},
		"one of another visit":                        {commit: "4.M.1", attempt: 2, change: func(_ *actor, _ *frame, r *replyMessage) { r.Visit = 2 }},
		"one of an undo":                              {commit: "4.M.1", attempt: 2, change: func(_ *actor, _ *frame, r *replyMessage) { r.Reply = commandUndo }},
		"one of another step":                         {commit: "4.M.1", attempt: 2, change: func(_ *actor, _ *frame, r *replyMessage) { r.Step = "B" }},
		"one of a branch that is gone":                {commit: "4.M.1", attempt: 2, change: func(_ *actor, _ *frame, r *replyMessage) { r.Frame = "P:0" }},
		"a chain that does not tell": {commit: "6.O.1", attempt: 1, change: func(a *actor, _ *frame, _ *replyMessage) {
			a.opened, a.traced = parseCommit("an.earlier.release's")
		}},
		"the start's, after nothing": {commit: "thestart", attempt: 1, change: func(a *actor, _ *frame, _ *replyMessage) {
			a.opened, a.traced = parseCommit("another")
		}},
		"one of another's first opening": {commit: "1.O.1", attempt: 1, lost: true, change: func(a *actor, _ *frame, _ *replyMessage) {
			a.opened, a.traced = parseCommit("thestart")
			a.lease.Epoch = 1
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(New("s", slowRemote("A").UndoRemote(), slowRemote("B").UndoRemote(), Do("Z", nothing)).def)
			b.play(t, "+1m +1s")
			f := b.m.root
			if !f.Waiting || f.Attempt != 2 {
				t.Fatalf("it is at %+v", f)
			}
			f.Sent = own
			a := &actor{m: b.m, lease: store.Lease{Epoch: 5, Nonce: "N"}, seq: 2}
			a.opened, a.traced = parseCommit(before)
			r := &replyMessage{Reply: commandDo, Step: "A", Visit: 1, Attempt: tt.attempt, Outcome: Done, Commit: tt.commit}
			if tt.change != nil {
				tt.change(a, f, r)
			}
			if why := a.lacks(r); (why != "") != tt.lost {
				t.Errorf("it lacks the commit: %q, want %t", why, tt.lost)
			}
		})
	}
}

// A quarantine is left with the clock, and with the orders of a parent, as if it had
// not been; what its operator says meanwhile is refused.
func TestQuarantineAndSuspension(t *testing.T) {
	for name, tt := range map[string]struct {
		ops       string
		suspended bool // released
		halted    bool // by its parent
	}{
		"by itself":                               {"lost", false, false},
		"found out twice":                         {"lost lost", false, false},
		"suspended before":                        {"suspend lost", true, false},
		"suspended before, found out twice":       {"suspend lost lost", true, false},
		"suspended before by its parent":          {"halt lost", true, true},
		"its parent goes on meanwhile":            {"halt lost goon", false, false},
		"its parent is suspended meanwhile":       {"lost halt", true, true},
		"and goes on":                             {"lost halt goon", false, false},
		"suspended before, its parent meanwhile":  {"suspend lost halt", true, false},
		"suspended before, its parent goes on":    {"suspend lost halt goon", true, false},
		"its parent goes on, and had not stopped": {"suspend lost goon", true, false},
		"an operator would have it go on":         {"suspend lost resume", true, false},
		"an operator would suspend it":            {"lost suspend", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(New("s", Wait[int]("W", time.Hour), Do("Z", nothing)).def)
			b.settle()
			stopped := time.Duration(0)
			for _, op := range strings.Fields(tt.ops + " release") {
				b.open(time.Minute)
				if b.m.root.Suspended > 0 {
					stopped += time.Minute
				}
				order := mail{Kind: map[string]string{"halt": mailSuspend, "goon": mailResume, "suspend": mailSuspend, "resume": mailResume}[op]}
				order.Parent = op == "halt" || op == "goon"
				switch {
				case op == "lost":
					b.m.quarantine("a commit", b.now)
				case op == "release":
					b.m.discharge("ann", "", b.now)
				case b.m.isolated(order):
				case order.Parent:
					b.m.heed(order.Kind, "saga 1", "", b.now)
				case op == "suspend":
					b.m.suspend("ann", "", b.now)
				default:
					b.m.goOn("ann", "", b.now)
				}
				b.settle()
			}
			root := b.m.root
			if got := root.Suspended > 0; got != tt.suspended || root.Halted != tt.halted || root.Quarantine != nil {
				t.Errorf("it is suspended: %t, by its parent: %t, want %t and %t", got, root.Halted, tt.suspended, tt.halted)
			}
			if tt.suspended {
				b.open(time.Minute)
				stopped += time.Minute
				b.m.goOn("ann", "", b.now)
				b.settle()
			}
			if want := b.start.Add(time.Hour + stopped); !b.wake.Equal(want) {
				t.Errorf("the wait ends after %s, want %s", b.wake.Sub(b.start), want.Sub(b.start))
			}
		})
	}
}

// Orders that build on what may not be there are refused, each in the history.
func TestOrdersInQuarantine(t *testing.T) {
	b := newBench(New("s", Do("P", nothing).Pivot(), Do("B", nothing).Retry(Once())).def)
	b.play(t, "done declined")
	b.open(0)
	b.m.discharge("ann", "", b.now)
	b.m.quarantine("a commit", b.now)
	for _, kind := range []string{mailCancel, mailRetry, mailEdit, mailSkip, mailSuspend, mailResume} {
		if !b.m.isolated(mail{Kind: kind, By: "ann"}) {
			t.Errorf("%s is not refused", kind)
		}
	}
	b.settle()
	refused := 0
	for _, e := range b.trace {
		if e.Type == OrderRefused {
			refused++
		}
	}
	if f := b.m.root; refused != 7 || b.m.status() != Quarantined || !f.Blocked || f.Suspended == 0 {
		t.Errorf("%d orders were refused, and it is %s", refused, b.m.status())
	}
	for _, kind := range []string{mailRelease, mailTerminate, mailReply, mailSignal, mailComplete, mailChild, mailLock, mailUndo, mailSettle} {
		if b.m.isolated(mail{Kind: kind}) {
			t.Errorf("%s is refused", kind)
		}
	}
	b.open(0)
	b.m.discharge("ann", "", b.now)
	b.settle()
	if b.m.status() != Blocked {
		t.Errorf("released it is %s", b.m.status())
	}
}
