package demo

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/rides"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
	"github.com/waybill-dev/waybill/saga"
)

// A standing is where every ride stands at one moment.
type standing struct {
	fates   map[string]rides.Fate // by ride; none for those that are under way
	missing []string              // rides that are nowhere to be found
	waiting []string              // rides that have ended, and nobody has been told
	blocked []string              // executions
	letters []deadLetter
}

// look finds out where every ride stands.
func (d *demo) look(ctx context.Context) (*standing, error) {
	s := &standing{fates: map[string]rides.Fate{}}
	var err error
	if s.letters, err = d.mortuary.list(ctx); err != nil {
		return nil, err
	}
	buried := map[string]bool{}
	for _, letter := range s.letters {
		buried[letter.ride] = true
	}
	executions, err := d.executions(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range d.tickets {
		completed, failed := d.audience.of(t.RideID)
		fate, known := executions[t.RideID]
		switch {
		case d.cfg.Mode == worker.Pipeline && completed:
			s.fates[t.RideID] = rides.Completed
		case d.cfg.Mode == worker.Pipeline && failed:
			s.fates[t.RideID] = rides.Compensated
		case fate == rides.Completed && !completed, fate == rides.Compensated && !failed:
			s.waiting = append(s.waiting, t.RideID)
		case known:
			if fate != "" {
				s.fates[t.RideID] = fate
			}
			if fate == rides.Blocked {
				s.blocked = append(s.blocked, t.FareID)
			}
		case buried[t.RideID]:
			s.fates[t.RideID] = rides.DeadLettered
		default:
			s.missing = append(s.missing, t.RideID)
		}
	}
	return s, nil
}

// executions returns what became of the rides that have a saga. Those that run
// have no fate yet.
func (d *demo) executions(ctx context.Context) (map[string]rides.Fate, error) {
	fates := map[string]rides.Fate{}
	if d.cfg.Mode != worker.Saga {
		return fates, nil
	}
	for status, fate := range map[saga.Status]rides.Fate{
		saga.Running: "", saga.Blocked: rides.Blocked,
		saga.Completed: rides.Completed, saga.Compensated: rides.Compensated,
	} {
		list, err := d.sagas.List(ctx, saga.Query{Definition: fare.SagaName, Status: status, Limit: 2*len(d.tickets) + 100})
		if err != nil {
			return nil, err
		}
		for _, x := range list {
			var f fare.Fare
			if err := json.Unmarshal(x.Input, &f); err != nil {
				return nil, fmt.Errorf("execution %s: %w", x.ID, err)
			}
			// An execution that moved on while we looked is in two lists;
			// its own word counts.
			switch x.Status {
			case status:
				fates[f.RideID] = fate
			case saga.Running:
				fates[f.RideID] = ""
			}
		}
	}
	return fates, nil
}

// settled reports whether nothing moves any more.
func (d *demo) settled(s *standing) bool {
	return len(s.missing) == 0 && len(s.waiting) == 0 && len(s.fates) == len(d.tickets)
}

// unblocked reports whether nothing moves any more and nothing waits for an
// operator; dead letters may be left.
func (d *demo) unblocked(s *standing) bool { return d.settled(s) && len(s.blocked) == 0 }

// done reports whether nothing is left to do.
func (d *demo) done(s *standing) bool {
	return d.unblocked(s) && len(s.letters) == 0
}

// tally counts the rides. What is missing is lost when there is no more time
// to find it.
func (s *standing) tally(rideCount int) report.Tally {
	t := report.Tally{Lost: len(s.missing) + len(s.waiting)}
	for _, fate := range s.fates {
		switch fate {
		case rides.Completed:
			t.Completed++
		case rides.Compensated:
			t.Compensated++
		case rides.DeadLettered:
			t.DeadLettered++
		case rides.Blocked:
			t.Open++
		}
	}
	t.Open += rideCount - t.Rides()
	return t
}

// buried counts the rides with dead letters.
func (s *standing) buried() int {
	seen := map[string]bool{}
	for _, letter := range s.letters {
		seen[letter.ride] = true
	}
	return len(seen)
}
