package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill-dev/waybill/dlq"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/saga"
)

// rounds is how often the demo tries to repair everything. One should do; a
// worker that was killed at a bad moment can make it two.
const rounds = 3

// repair mends the provider, retries blocked sagas, and repairs and redrives
// dead letters, until nothing is left to repair.
func (d *demo) repair(ctx context.Context, s *standing) (*standing, error) {
	if err := d.stage.services.Payments.Mend(ctx, "fail_refund"); err != nil {
		return nil, err
	}
	redriven := map[string]bool{}
	for round := 1; round <= rounds && !d.done(s); round++ {
		if d.cfg.Mode == worker.Saga {
			d.say("the payment provider is mended, %s retried", report.Were(len(s.blocked), "blocked saga", "is", "are"))
		} else {
			d.say("the payment provider is mended")
		}
		d.say("%s repaired and redriven", report.Were(len(s.letters), "dead letter", "is", "are"))
		for _, letter := range s.letters {
			redriven[letter.ride] = true
		}
		d.report.RedrivenRides = len(redriven)
		for _, id := range s.blocked {
			if err := d.sagas.Retry(ctx, id, saga.Order{By: "wildrydes", Note: "the payment provider is mended"}); err != nil {
				return nil, err
			}
		}
		if err := d.redrive(ctx, s, round); err != nil {
			return nil, err
		}
		var err error
		if s, err = d.await(ctx, d.cfg.Patience/3, d.unblocked, nil); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// redrive sends the dead letters back to where they failed.
func (d *demo) redrive(ctx context.Context, s *standing, round int) error {
	riders, err := d.stage.backend.Endpoints.Resolve(fare.Rides)
	if err != nil {
		return err
	}
	byRide := map[string]*ticket{}
	for _, t := range d.tickets {
		byRide[t.RideID] = t
	}
	redriven := map[string]bool{}
	for _, letter := range s.letters {
		if redriven[letter.queue] {
			continue
		}
		redriven[letter.queue] = true
		opts := dlq.Options{From: letter.queue, Workers: 1}
		if queue.SameQueue(queue.SchemeSQS+"://"+letter.queue, riders.DeadLetter) {
			opts.Edit = func(_ context.Context, l *dlq.Letter) error {
				ride := l.Metadata.Get(queue.KeyCorrelation)
				t := byRide[ride]
				if t == nil {
					return fmt.Errorf("ride %q is not one of this run", ride)
				}
				return d.mend(l, t, s.fates[ride], round)
			}
		}
		r, err := d.mortuary.client.Redrive(ctx, opts)
		var partial *dlq.PartialError
		if err != nil && !(errors.As(err, &partial) && r.Failed == 0) { // the next round reaches the rest
			return err
		}
		d.report.Redriven += r.Sent
	}
	return nil
}

// mend puts the right body into the message of a ride. A ride whose fare id is
// taken by another gets an id of its own. A message can lie there twice, when its
// worker was killed after it had moved it: both become the same.
func (d *demo) mend(l *dlq.Letter, t *ticket, fate rides.Fate, round int) error {
	refused := l.Failure != nil && l.Failure.Reason == queue.ReasonPermanent
	if fate == rides.DeadLettered && (t.Reused || round > 1 && refused) {
		t.rename()
	}
	body, err := t.body(d.cfg.Mode, t.amount().String())
	if err != nil {
		return err
	}
	l.Body = body
	return nil
}
