package saga

import (
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// hear takes mail in. While an attempt of the root's own is running it waits,
// because what it asks for may hang on the answer; but what is about locks does
// not, and the step that comes next may hang on it. And where the execution is to be
// terminated, no answer is waited for.
func (a *actor) hear(box store.Mailbox) {
	first := box.Read - int64(len(box.Mail)) + 1
	for i, body := range box.Mail {
		if first+int64(i) > a.read+int64(len(a.waiting)) {
			a.waiting = append(a.waiting, body)
		}
	}
	if a.terminates() {
		a.cutOff()
	}
	if a.m.folded {
		a.seek()
	}
	for n := 0; len(a.waiting) > 0; n++ {
		body := a.waiting[0]
		if a.m.folded && n > 0 {
			a.seekFor(body) // whom it is for may hang on the mail before it
		}
		if a.m.behind() {
			return // for frames, see fetch
		}
		if a.m.root.running && !a.urgent(body) {
			return
		}
		a.puzzled = nil
		if why := a.absorb(body); why != nil && why.wait {
			return
		} else if why != nil && !a.setAside(body, why) {
			a.puzzled = why
			return
		}
		a.read++
		a.waiting = a.waiting[1:]
	}
	a.waiting = nil
}

// leave gives the execution to others, who may understand the mail that this
// worker does not.
func (a *actor) leave() error {
	a.m.park(a.lease.Epoch, a.now())
	if a.m.dirty || a.seq > 0 {
		if sent, err := a.send(store.Continue, time.Time{}); err != nil || !sent {
			return err
		}
	}
	a.c.release(a.lease)
	return fmt.Errorf("%w: %w", errDropped, a.puzzled)
}

// fetch loads the frames that the mail and the letters are about, or all of them
// where they are needed, and takes in the mail that had to wait for them.
func (a *actor) fetch() error {
	for a.m.folded {
		if a.m.short && !a.m.unfold() {
			a.m.unfolded()
		}
		if len(a.m.wants) > 0 {
			if err := a.load(); err != nil {
				return err
			}
		}
		if a.m.short {
			continue
		}
		a.hear(store.Mailbox{})
		if !a.m.behind() {
			return nil
		}
	}
	return nil
}

// seek has the frames loaded that are not, and that the mail and the letters are
// about.
func (a *actor) seek() {
	for _, body := range a.waiting {
		a.seekFor(body)
	}
	for _, l := range a.unsent {
		if l.Attempt > 0 {
			a.m.seek(l.Frame)
		}
	}
}

func (a *actor) seekFor(body []byte) {
	var m mail
	if decodeJSON(a.c.cfg.Codec, body, &m) == nil {
		a.m.seekFor(m)
	}
}
