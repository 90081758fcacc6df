package saga

import (
	"context"
	"errors"
	"time"

	"github.com/waybill-dev/waybill/store"
)

// deliver gives mail to an execution, and sees to it that it is heard soon. Where
// the coordinator of this process has room, and nobody holds the execution, the
// call to the store that brings the mail opens it, to be run here; otherwise the
// holder gets the mail, or who hears the bell, or the sweep finds it.
func (c *Client) deliver(ctx context.Context, r store.PostRequest) (posted bool, err error) {
	k := c.coordinator
	if k == nil || !k.take() {
		if posted, err = c.store.Post(ctx, r); err == nil {
			c.ring(ctx, r.ID)
		}
		return posted, err
	}
	nonce, sent := newID(), time.Now()
	d, err := c.store.Deliver(ctx, r, store.OpenRequest{ID: r.ID, Nonce: nonce, Lease: k.cfg.Lease})
	switch {
	case d.Opening != nil:
		if !k.knows(d.Opening) {
			// Mail is to be heard soon, by those who have the definition.
			k.leave(d.Opening.Lease, 0)
			k.give()
			if c.cfg.Ring != nil {
				c.cfg.Ring(ctx, r.ID)
			}
			break
		}
		go k.run(d.Opening, sent, nil)
	case d.Posted, refused(err):
		k.give()
	default:
		// The mail came before, and may not have been heard; or nobody knows
		// whether this call has taken the lease, which then is found by its nonce.
		k.spawn(r.ID, nonce)
	}
	return d.Posted, err
}

// knows reports whether an opening is of a definition that this process has. One
// that cannot be read is for run to say so.
func (c *Coordinator) knows(o *store.Opening) bool {
	var m meta
	return decodeJSON(c.cfg.Codec, o.Meta, &m) != nil || c.defs[definitionKey{m.Definition, m.Version}] != nil
}

// refused reports whether an error is the store's answer to mail, which it did
// not take.
func refused(err error) bool {
	var format *store.FormatError
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrEnded) ||
		errors.Is(err, store.ErrMailboxFull) || errors.Is(err, store.ErrInvalid) || errors.As(err, &format)
}
