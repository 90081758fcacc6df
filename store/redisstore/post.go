package redisstore

import (
	"context"

	"github.com/waybill-dev/waybill/store"
)

// Post implements store.Executions.
func (s *Store) Post(ctx context.Context, r store.PostRequest) (bool, error) {
	if err := r.Validate(); err != nil {
		return false, err
	}
	got, err := s.post(ctx, &r, "", 0)
	return got.Posted, err
}

// Deliver implements store.Executions.
func (s *Store) Deliver(ctx context.Context, r store.PostRequest, o store.OpenRequest) (store.Delivery, error) {
	if err := store.CheckDelivery(&r, &o); err != nil {
		return store.Delivery{}, err
	}
	return s.post(ctx, &r, o.Nonce, ceilMillis(o.Lease))
}

// post appends mail, and opens the execution where a nonce is given.
func (s *Store) post(ctx context.Context, r *store.PostRequest, nonce string, lease int64) (store.Delivery, error) {
	k := s.keys.execution(r.ID)
	a, err := s.ask(ctx, s.scripts.post,
		[]string{k.record(), k.mail(), k.seen(), k.timers(), k.tombstones()},
		r.ID, store.FormatVersion, r.MailID, r.Body, r.Limit, store.MailsRemembered, nonce, lease, ceilMillis(r.Early))
	if err != nil {
		return store.Delivery{}, err
	}
	switch a.str(0) {
	case "OK":
		return store.Delivery{Posted: true}, nil
	case "OPEN":
		return store.Delivery{Posted: true, Opening: a.opening(r.ID, nonce)}, nil
	case "SEEN":
		return store.Delivery{}, nil
	}
	return store.Delivery{}, failure(a, "post to", r.ID)
}
