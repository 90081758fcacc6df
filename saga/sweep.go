package saga

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// sweep opens executions whose wake-up has come, until the context ends.
func (c *Coordinator) sweep(ctx context.Context, m *members) {
	// Coordinators that swept in step would always come in the same order.
	pause := func() time.Duration { return c.cfg.Sweep/2 + mathrand.N(c.cfg.Sweep/2+1) }
	timer := time.NewTimer(pause())
	defer timer.Stop()
	behind := c.look(ctx, m)
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(pause())
		case <-c.kick:
			if !behind {
				continue
			}
		}
		behind = c.look(ctx, m)
	}
}

// look opens what is due, as far as there are slots, and reports whether more
// may be due than that.
func (c *Coordinator) look(ctx context.Context, m *members) bool {
	free := cap(c.slots) - len(c.slots)
	if free == 0 {
		return true
	}
	call, cancel := c.outlasting(ctx)
	defer cancel()
	ids, err := c.store.Due(call, m.partitions(), free, c.cfg.Lease)
	if err != nil && ctx.Err() == nil {
		c.log.Warn("sweep", "error", err)
	}
	for i, id := range ids {
		// A start may have taken a slot meanwhile. What was found due is hidden
		// from the next look, so it has to wait for another one here.
		if !c.takeWhenFree(ctx) {
			c.giveBack(ids[i:])
			break
		}
		c.spawn(id, newID())
	}
	return len(ids) == free
}

// lastCall is how long a call to the store may take when Run is to end.
const lastCall = 2 * time.Second

// outlasting is a context for a call whose answer matters when ctx has ended, too.
func (c *Coordinator) outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	call, cancel := context.WithCancel(c.background)
	timer := time.AfterFunc(math.MaxInt64, cancel)
	stop := context.AfterFunc(ctx, func() { timer.Reset(lastCall) })
	return call, func() {
		stop()
		timer.Stop()
		cancel()
	}
}

// giveBack lets others have at once what was found due, and is not begun here any
// more. What goes wrong costs time alone.
func (c *Coordinator) giveBack(ids []string) {
	ctx, cancel := context.WithTimeout(c.background, lastCall)
	defer cancel()
	for _, id := range ids {
		o, err := c.store.Open(ctx, store.OpenRequest{ID: id, Nonce: newID(), Lease: c.cfg.Lease})
		if err == nil {
			err = c.store.Release(ctx, o.Lease, 0)
		}
		if err != nil {
			c.log.Debug("give back", "execution", id, "error", err)
		}
	}
}

// openAndRun opens an execution and runs it. It takes the caller's slot over.
func (c *Coordinator) openAndRun(id, nonce string) {
	ctx, cancel := context.WithTimeout(c.background, c.cfg.Lease)
	defer cancel()
	sent := time.Now()
	o, err := c.store.Open(ctx, store.OpenRequest{ID: id, Nonce: nonce, Lease: c.cfg.Lease})
	if err == nil {
		cancel()
		c.run(o, sent, nil)
		return
	}
	defer c.give()
	var held *store.HeldError
	var notDue *store.NotDueError
	switch {
	case errors.As(err, &held), errors.As(err, &notDue), errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrGone):
	case errors.Is(err, store.ErrEnded):
		if _, err := c.store.Purge(ctx, id, c.cfg.Tombstone); err != nil {
			c.log.Warn("purge", "execution", id, "error", err)
		}
	default:
		c.log.Error("open", "execution", id, "error", err)
	}
}

// A beginning is what an execution that this process has just started consists
// of, so that it need not be decoded.
type beginning struct {
	meta meta
	root *frame
}

// run runs an execution that was opened by a call sent at the given time. The
// beginning is nil where it was not started just now. It takes the caller's slot
// over.
func (c *Coordinator) run(o *store.Opening, sent time.Time, b *beginning) {
	a, err := c.actor(o, sent, b)
	if a == nil {
		defer c.give()
		if err != nil {
			c.log.Error("the execution is left to others", "execution", o.ID, "error", err)
		}
		c.leave(o.Lease, c.strangers.leave(o.ID, o.Commit, &c.cfg))
		return
	}
	deepen()
	a.steer(func() error { return a.run(o) })
}

// deepen makes room on the stack for what a saga calls, in one go: the stack of a
// new goroutine would be copied again and again on the way into a handler.
//
//go:noinline
func deepen() byte {
	var room [12 << 10]byte
	return room[time.Now().Nanosecond()&0xfff]
}

// actor prepares to run an opening. It returns nil where this process does not
// have the definition.
func (c *Coordinator) actor(o *store.Opening, sent time.Time, b *beginning) (*actor, error) {
	a := &actor{
		c: c, lease: o.Lease, started: o.Started, status: Status(o.Status), commit: o.Commit,
		running: make(map[*frame]*attempt), answers: make(chan *attempt, 1), gone: make(chan struct{}),
	}
	a.opened, a.traced = parseCommit(o.Commit)
	if b != nil {
		a.meta = b.meta
	} else if err := decodeJSON(c.cfg.Codec, o.Meta, &a.meta); err != nil {
		return nil, err
	}
	key := definitionKey{a.meta.Definition, a.meta.Version}
	def := c.defs[key]
	if def != nil && a.meta.Part != "" {
		def = def.parts[a.meta.Part]
	}
	if def == nil {
		if _, reported := c.missing.LoadOrStore(key, struct{}{}); !reported {
			c.log.Warn("executions of a definition that this process does not have are left to others",
				"definition", key.name, "version", key.version)
		}
		return nil, nil
	}
	var f *frame
	if b != nil {
		f = b.root
	} else {
		var err error
		if f, err = decodeFrame(c.cfg.Codec, o.Root, def, def.root, ""); err != nil {
			return nil, err
		}
	}
	begins := o.Started.Add(time.Duration(a.meta.Delay) * time.Millisecond)
	a.m = resume(def, f, o.Epoch, begins, c.cfg.Lease, c.cfg.MaxOpenings)
	a.m.child, a.m.maxState = a.meta.Parent != nil, c.cfg.MaxState
	a.held(sent, o.Now)
	return a, nil
}

// release gives an execution back that this process cannot bring further now.
func (c *Coordinator) release(l store.Lease) { c.leave(l, c.strangers.leave(l.ID, "", &c.cfg)) }

// leave gives an execution back that has nothing to do here for so long.
func (c *Coordinator) leave(l store.Lease, d time.Duration) {
	ctx, cancel := context.WithTimeout(c.background, c.cfg.Lease)
	defer cancel()
	if err := c.store.Release(ctx, l, d); err != nil {
		c.log.Warn("release", "execution", l.ID, "error", err)
	}
}

// members knows the live coordinators, and so which partitions are this one's.
type members struct {
	c     *Coordinator
	group string // begins the names of those that have the same definitions
	name  string

	mu    sync.Mutex
	owned []int
}

// group names the set of definitions that the coordinator has.
func (c *Coordinator) group() string {
	var keys []string
	for key := range c.defs {
		keys = append(keys, key.name+"/"+key.version)
	}
	slices.Sort(keys)
	return digest([]byte(strings.Join(keys, " ")))[:12]
}

// A coordinator is taken to be dead when it has missed missedBeats heartbeats.
// With short leases its executions are free soon, and so is its share.
const (
	shortestBeat = 200 * time.Millisecond
	longestBeat  = 2 * time.Second
	missedBeats  = 5
)

func (cfg *CoordinatorConfig) heartbeat() time.Duration {
	return min(max(cfg.Lease/missedBeats, shortestBeat), longestBeat)
}

func newMembers(ctx context.Context, c *Coordinator) (*members, error) {
	m := &members{c: c, group: c.group() + "/"}
	m.name = m.group + c.cfg.Name
	return m, m.beat(ctx)
}

// leave tells the others that this coordinator takes no share any more.
func (m *members) leave() {
	ctx, cancel := context.WithTimeout(m.c.background, longestBeat)
	defer cancel()
	if err := m.c.store.Leave(ctx, m.name); err != nil {
		m.c.log.Warn("leave", "error", err)
	}
}

func (m *members) run(ctx context.Context) {
	ticker := time.NewTicker(m.c.cfg.heartbeat())
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			m.leave()
			return
		case <-ticker.C:
			if err := m.beat(ctx); err != nil && ctx.Err() == nil {
				// The shares stay as they are: leases decide, shares only
				// spread the work.
				m.c.log.Warn("heartbeat", "error", err)
			}
		}
	}
}

func (m *members) beat(ctx context.Context) error {
	live, err := m.c.store.Heartbeat(ctx, m.name, missedBeats*m.c.cfg.heartbeat())
	if err != nil {
		return err
	}
	// Those with other definitions leave our executions alone, so each group
	// that has the same ones shares out all the partitions.
	live = slices.DeleteFunc(live, func(name string) bool { return !strings.HasPrefix(name, m.group) })
	owned := share(m.name, live, m.c.store.Partitions())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owned = owned
	return nil
}

func (m *members) partitions() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.owned
}

// owns reports whether what is due of an execution is found by this coordinator.
func (c *Coordinator) owns(id string) bool {
	c.mu.Lock()
	m := c.members
	c.mu.Unlock()
	return m != nil && slices.Contains(m.partitions(), c.store.Partition(id))
}

// share returns the partitions for which the worker's hash is the highest of
// all live ones (rendezvous hashing): when a worker comes or goes, only its own
// partitions change hands.
func share(worker string, live []string, partitions int) []int {
	var owned []int
	for p := range partitions {
		best, bestScore := "", uint64(0)
		for _, w := range live {
			h := fnv.New64a()
			h.Write([]byte(w))
			h.Write([]byte{0})
			h.Write([]byte(strconv.Itoa(p)))
			score := mix(h.Sum64())
			if best == "" || cmp.Or(cmp.Compare(score, bestScore), cmp.Compare(w, best)) > 0 {
				best, bestScore = w, score
			}
		}
		if best == worker {
			owned = append(owned, p)
		}
	}
	return owned
}

// mix spreads FNV's last bytes, which are where partitions differ, over all
// bits (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
