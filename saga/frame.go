package saga

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	fastjson "github.com/segmentio/encoding/json"

	"github.com/waybill-dev/waybill/store"
)

// meta is what never changes about an execution.
type meta struct {
	Definition string          `json:"d"`
	Version    string          `json:"v"`
	Input      json.RawMessage `json:"i"`
	ReplyTo    string          `json:"r,omitempty"`
	Delay      int64           `json:"w,omitempty"` // of the first step, in milliseconds
	// Parent is where a child was started. Part is the Map of its parent's
	// definition whose items it does.
	Parent *parentRef `json:"p,omitempty"`
	Part   string     `json:"m,omitempty"`
}

// A frame is where one state machine of an execution stands: the root, a branch
// of a Parallel or an item of a Map. Each is a field of the execution's record,
// and a commit writes those that changed. Times are milliseconds on the store's
// clock.
type frame struct {
	// Step is the step that is being done or, while Undoing, the one that is
	// being undone. Empty: the frame has come to its end.
	Step string `json:"s,omitempty"`
	// Entered is when the step was entered.
	Entered int64 `json:"t,omitempty"`
	// Pending is set while the step is yet to be entered, at At.
	Pending bool `json:"y,omitempty"`
	// Attempt is the number of the attempt that is dispatched. It only grows,
	// apart for action and compensation; Tries counts those that are charged
	// to the retry policy, and TriesOn those charged to the ones for errors of
	// some names.
	Attempt int   `json:"a,omitempty"`
	Tries   int   `json:"n,omitempty"`
	TriesOn []int `json:"i,omitempty"`
	// Lost counts the attempts in a row whose worker died.
	Lost int `json:"l,omitempty"`
	// At is when the attempt or the end of the wait is due or, if that is past,
	// when the attempt was dispatched.
	At int64 `json:"b,omitempty"`
	// Order is the attempt's place among those of all frames but the root.
	Order int `json:"q,omitempty"`
	// Unknown is set once an attempt of the action ended unknown: its effect
	// may exist whatever later attempts say. StillRunning is until when a
	// handler that did not answer may be at work.
	// Unheard are attempts of those whose answer may still come, and Doubt says
	// that there are others.
	Unknown      bool  `json:"u,omitempty"`
	Unheard      []int `json:"N,omitempty"`
	Doubt        bool  `json:"R,omitempty"`
	StillRunning int64 `json:"r,omitempty"`
	// Waiting says that somebody outside is to complete the step: by Token, or
	// with a signal. At is when that must have been heard of, and Until when the
	// attempt is over.
	Waiting bool   `json:"w,omitempty"`
	Token   string `json:"W,omitempty"`
	Until   int64  `json:"U,omitempty"`
	// Sent is the commit that sent the attempt's command to a participant.
	Sent string `json:"J,omitempty"`
	// Misfits counts the results that came with Token and were of no use.
	Misfits int `json:"M,omitempty"`
	// Calls says that it is a child that is waited for, and Stop why that was
	// told to undo itself.
	Calls bool   `json:"B,omitempty"`
	Stop  *Cause `json:"D,omitempty"`
	// Locks are those that the step waits for before it begins; it is Pending
	// until then.
	Locks []lockNeed `json:"I,omitempty"`
	// Visits counts how often steps were entered that may be entered again.
	Visits map[string]int `json:"V,omitempty"`

	// Undoing says that Step's compensation is dispatched.
	Undoing bool `json:"x,omitempty"`
	Blocked bool `json:"k,omitempty"`
	// Why is why it is blocked, where the root's Trouble is another frame's.
	Why *Cause `json:"A,omitempty"`
	// Scope is set while what was done in the frame, and below it, is undone.
	Scope *scope `json:"o,omitempty"`
	// Fork is set while branches or items are under way below the frame.
	Fork *fork `json:"f,omitempty"`
	// Caught is what led to a step that catches errors, and Failed why a frame
	// that is not the root has ended badly.
	Caught *Cause `json:"c,omitempty"`
	Failed *Cause `json:"j,omitempty"`

	State json.RawMessage `json:"d,omitempty"`
	// Changed is set once State is no longer what the frame began with.
	Changed bool         `json:"g,omitempty"`
	Undo    []undoRecord `json:"z,omitempty"` // in the order of dispatch

	// Only the root has those below.

	// Parked is the last opening that gave the lease back when nothing was
	// running. What an opening finds dispatched was not begun if that was the
	// one before it; else an answer has been lost.
	Parked int64 `json:"e,omitempty"`
	// Rest says that the one that is Parked saw nothing to do in any frame, and noted
	// in the forks when first there is something: see fork.Due.
	Rest bool `json:"rs,omitempty"`
	// Entries counts the history entries up to this frame's commit, and Orders
	// the places given to attempts.
	Entries int  `json:"h,omitempty"`
	Orders  int  `json:"Q,omitempty"`
	Pivoted bool `json:"p,omitempty"`
	// First says that the saga's own locks are yet to be taken, and Locked are all
	// locks that are held or asked for.
	First  bool       `json:"F,omitempty"`
	Locked []heldLock `json:"L,omitempty"`
	// Signals are those that no step has taken yet.
	Signals []signal `json:"S,omitempty"`
	Overdue bool     `json:"v,omitempty"` // the alert was given
	// Suspended is since when nothing begins, and Shift by how long deadlines
	// were put off for such times, in milliseconds.
	Suspended int64 `json:"X,omitempty"`
	Shift     int64 `json:"H,omitempty"`
	// Halts counts such times, and Halted says that its parent has suspended it.
	Halts  int  `json:"P,omitempty"`
	Halted bool `json:"T,omitempty"`
	// Still is set once it was parked since then: nothing is at work, whoever has
	// opened it and died.
	Still bool `json:"Y,omitempty"`
	// Quarantine is set where a reply has shown that a write was lost.
	Quarantine *quarantine `json:"Z,omitempty"`
	// Cancel is an order that waits for the answer of a pivot: what becomes of it
	// hangs on that.
	Cancel *Cause `json:"O,omitempty"`
	// Spent are marks of the last completions that were taken: see spentMark.
	Spent []string `json:"sp,omitempty"`
	// Ended is who ended the execution where it stood.
	Ended *Cause `json:"E,omitempty"`
	// Children is set once the execution has started some. Held is set where it
	// is one, has completed, and may be undone.
	Children bool `json:"C,omitempty"`
	Held     bool `json:"K,omitempty"`
	// Guessed are participants' actions that were undone while unknown.
	Guessed []guess `json:"G,omitempty"`
	// Trouble is why the execution is blocked: that of the first frame that was.
	Trouble *Cause `json:"m,omitempty"`

	// The rest is not kept.
	path   string
	index  int // among its parent's branches
	graph  *Graph
	parent *frame
	items  []json.RawMessage
	kids   []*frame // of the fork, by number; nil where one is not loaded
	// parts are the items of a fork's executions to come, where they are loaded.
	parts map[int]json.RawMessage
	// Settling: what could be undone is to be let go of.
	Settling bool `json:"-"`
	// dirty: to be written. running: a handler is at work, or may be.
	// kept: its last state is in the history. late: it was folded until all frames
	// had to be loaded.
	dirty, running, kept, late bool
}

// A scope is what is being undone, and what comes then.
type scope struct {
	// Keep is how many of the frame's undo records stay as they are.
	Keep int `json:"k,omitempty"`
	// Then is the step to go on at. Empty: the frame has failed.
	Then string `json:"n,omitempty"`
	// Again is set where Then is the step that failed, which is tried again
	// after the given time.
	Again int64  `json:"a,omitempty"`
	Cause *Cause `json:"c,omitempty"`
}

// A fork is the branches of a Parallel, or the items of a Map, below a frame.
type fork struct {
	Step  string `json:"s"`
	Visit int    `json:"v,omitempty"`
	// Size is how many there are in all, and Begun how many have a frame.
	Size  int `json:"n"`
	Begun int `json:"b,omitempty"`
	// Batched is how many items there are where each branch is an execution
	// that does a part of them.
	Batched int `json:"t,omitempty"`
	// Ended tells which have come to their end, and Failures how many of them
	// badly.
	Ended    bits `json:"e,omitempty"`
	Failures int  `json:"f,omitempty"`
	// Undoing is set where it was attached again to be undone.
	Undoing bool `json:"u,omitempty"`
	// Skipped says that an operator lets it end without a merge.
	Skipped bool `json:"k,omitempty"`
	// Due tells for each block of branches when first something may be due in them,
	// and below them; 0 is never. Late are the blocks where that is the time by which
	// somebody outside is to answer, and Ears those in which some frame may wait for a
	// signal, by its name. They hold where the root is at Rest.
	Due  dues            `json:"d,omitempty"`
	Late bits            `json:"l,omitempty"`
	Ears map[string]bits `json:"r,omitempty"`
}

// undoRecord is a compensation that must run if the saga fails; or, with a Fork,
// all those of its branches.
type undoRecord struct {
	Step    string `json:"s"`
	Visit   int    `json:"v,omitempty"`
	Order   int    `json:"q,omitempty"`
	Unknown bool   `json:"u,omitempty"` // else done
	// Entry is where the state is that the compensation sees; Nth of several
	// there, from 0 on.
	Entry    int   `json:"h,omitempty"`
	Nth      int   `json:"i,omitempty"`
	NotUntil int64 `json:"t,omitempty"`
	// Attempt is the last attempt of the compensation, where it was given up in
	// favour of a later action's.
	Attempt int `json:"a,omitempty"`
	// Unsure says that an attempt of the compensation, under its present key,
	// ended unknown. Edited is the input that an operator gave it.
	Unsure bool    `json:"w,omitempty"`
	Edited *edited `json:"e,omitempty"`
	// Unheard and Doubt are as in the frame, and Token is that of a task which
	// somebody may still complete. After is the state after an action that was
	// done, and heard of late: it was never the frame's.
	Unheard []int           `json:"n,omitempty"`
	Doubt   bool            `json:"r,omitempty"`
	Token   string          `json:"k,omitempty"`
	After   json.RawMessage `json:"d,omitempty"`
	Fork    *fork           `json:"f,omitempty"`
}

// A state is kept once. The present one is in the frame. When a commit replaces
// it, the commit's history entry keeps the one replaced, unless that is the
// execution's input, which is in the meta data. An undo record tells which.
const (
	stateInFrame = 0 // entry 0 begins the history and replaces nothing
	stateInMeta  = -1
)

// input is what the compensation sees, where the record has it.
func (r undoRecord) input() json.RawMessage {
	if r.Edited != nil {
		return r.Edited.Input
	}
	return r.After
}

func (r undoRecord) outcome() Outcome {
	if r.Unknown {
		return Unknown
	}
	return Done
}

// cause is why the frame is being undone, or was.
func (f *frame) cause() *Cause {
	switch {
	case f.Ended != nil:
		return f.Ended
	case f.Scope == nil || f.Scope.Then != "":
		return nil
	}
	return f.Scope.Cause
}

// visit is how often the frame has come to a step.
func (f *frame) visit(step string) int { return max(f.Visits[step], 1) }

// below names the frame of a fork's nth branch or item. The form is part of the
// format: it is in idempotency keys.
func (f *frame) below(k *fork, n int) string {
	path := joinPath(f.path, k.Step)
	if k.Visit > 1 {
		path += "@" + strconv.Itoa(k.Visit)
	}
	return path + ":" + strconv.Itoa(n)
}

// joinPath begins the paths of the frames that a step makes below another.
func joinPath(path, step string) string {
	if path == "" {
		return step
	}
	return path + "," + step
}

// kid is the frame of the fork's nth branch or item, if it is loaded.
func (f *frame) kid(n int) *frame {
	if n >= len(f.kids) {
		return nil
	}
	return f.kids[n]
}

// frameField and itemsField name the fields of an execution's record that hold
// a frame, and the items of the Map that a frame is at.
func frameField(path string) string { return store.RootFrame + path }
func itemsField(path string) string { return store.RootFrame + "#" + path }

// bits are a set of small numbers; its text is base64 of its bits.
type bits []byte

func (b bits) has(n int) bool { return n/8 < len(b) && b[n/8]&(1<<(n%8)) != 0 }

func (b *bits) add(n int) {
	for n/8 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[n/8] |= 1 << (n % 8)
}

func (b *bits) set(n int, to bool) {
	if to {
		b.add(n)
	} else if b.has(n) {
		(*b)[n/8] &^= 1 << (n % 8)
	}
}

func (b bits) count() int {
	n := 0
	for _, x := range b {
		for ; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}

// decodeFrame decodes a frame and checks that it belongs to the graph, so that a
// damaged one is refused and takes nobody down.
func decodeFrame(codec Codec, stored []byte, def *Definition, graph *Graph, path string) (*frame, error) {
	f := new(frame)
	if err := decodeJSON(codec, stored, f); err != nil {
		return nil, fmt.Errorf("decode the frame: %w", err)
	}
	f.graph, f.path = graph, path
	return f, f.check(def)
}

func (f *frame) check(def *Definition) error {
	known := func(step string) *State {
		if s := def.byName[step]; s != nil && s.graph == f.graph {
			return s
		}
		return nil
	}
	for _, r := range f.Undo {
		s := known(r.Step)
		if r.Fork != nil {
			if s == nil || r.Fork.check(s) != nil {
				return fmt.Errorf("the frame is to undo the branches of step %q, which saga %q does not have", r.Step, def.name)
			}
			continue
		}
		if s == nil || !s.compensable() {
			return fmt.Errorf("the frame is to undo step %q, which saga %q cannot", r.Step, def.name)
		}
	}
	n := len(f.Undo)
	switch {
	case f.Step == "" && (f.Blocked || f.Undoing || f.Pending || f.Waiting || f.locking()):
		return errors.New("the frame has ended with work left")
	case f.Held && (f.Step != "" || n == 0):
		return errors.New("the frame is held, and not at its end")
	case f.Step == "" && f.Scope == nil && f.path == "" && n > 0 && !f.Held:
		return errors.New("the frame has ended with work left")
	case f.Step != "" && known(f.Step) == nil:
		return fmt.Errorf("the frame is at step %q, which saga %q does not have", f.Step, def.name)
	case f.Waiting && (f.Pending || known(f.Step).Signal == "" && !known(f.Step).Callback && !known(f.Step).remote(f.Undoing)):
		return fmt.Errorf("the frame waits at step %q, which waits for nobody", f.Step)
	case f.Undoing && (n == 0 || f.Undo[n-1].Step != f.Step || f.Undo[n-1].Fork != nil):
		return fmt.Errorf("the frame undoes step %q out of its order", f.Step)
	case f.Scope != nil && f.Scope.Then != "" && known(f.Scope.Then) == nil:
		return fmt.Errorf("the frame is to go on at step %q, which saga %q does not have", f.Scope.Then, def.name)
	case f.Scope != nil && (f.Scope.Keep < 0 || f.Scope.Keep > n):
		return errors.New("the frame is to keep more than it has")
	}
	if f.Fork != nil {
		s := known(f.Fork.Step)
		if s == nil {
			return fmt.Errorf("the frame has branches of step %q, which saga %q does not have", f.Fork.Step, def.name)
		}
		return f.Fork.check(s)
	}
	return nil
}

func (k *fork) check(s *State) error {
	graphs := s.graphs()
	if len(graphs) == 0 || k.Batched > 0 && s.batch == nil || s.Type == TypeParallel && k.Size != len(graphs) ||
		k.Size < 0 || k.Begun < 0 || k.Begun > k.Size || len(k.Ended)*8 > k.Size+7 {
		return fmt.Errorf("step %q does not have %d branches, of which %d are under way", s.Name, k.Size, k.Begun)
	}
	return nil
}

// graph is the state machine of a fork's nth branch or item.
func (k *fork) graph(s *State, n int) *Graph {
	switch {
	case k.Batched > 0:
		return s.batch
	case s.Type == TypeMap:
		return s.Each
	}
	return s.Branches[n]
}

// scratches are buffers to encode into, of up to maxScratch bytes.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

const maxScratch = 64 << 10

// encodeJSON writes what is kept in the store, which is most of what a saga takes
// of the processor here: with a package that does it in a quarter of the time. The
// states within were checked when they were made.
func encodeJSON(codec Codec, v any) ([]byte, error) {
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	data, err := fastjson.Append((*scratch)[:0], v, fastjson.SortMapKeys|fastjson.TrustRawMessage)
	if cap(data) <= maxScratch {
		*scratch = data
	}
	data = bytes.Clone(data)
	if err != nil || codec == nil {
		return data, err
	}
	return codec.Encode(data)
}

func decodeJSON(codec Codec, data []byte, v any) error {
	if codec != nil {
		plain, err := codec.Decode(data)
		if err != nil {
			return fmt.Errorf("codec: %w", err)
		}
		data = plain
	}
	return json.Unmarshal(data, v)
}

// A Codec changes the bytes of state and history on their way to the store and
// back, to encrypt or compress them. Decode must undo Encode. Both are called
// from many goroutines.
type Codec interface {
	Encode(plain []byte) ([]byte, error)
	Decode(stored []byte) ([]byte, error)
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
