package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/fare"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/report"
	"github.com/waybill-dev/waybill/examples/wildrydes/internal/worker"
	"github.com/waybill-dev/waybill/saga"
)

const (
	// tick is how often the demo looks at what costs nothing.
	tick = 10 * time.Millisecond
	// glance is how often it asks for counts, and stare for everything.
	glance = 200 * time.Millisecond
	stare  = 2 * time.Second
	// news is how often it tells how far it is.
	news = time.Second
)

// await waits until there is enough, and returns where everything stands; also
// when nothing has moved for as long as there is patience. It calls act
// meanwhile, if that is given, which is told for how long nothing has moved, and
// waits at least until that has nothing left to do.
func (d *demo) await(ctx context.Context, patience time.Duration, enough func(*standing) bool, act func(idle time.Duration) (bool, error)) (*standing, error) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	moved, heard, seen := time.Now(), d.audience.rides(), -1
	glanced, stared, told := moved, moved, moved
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-d.crew.process.ended:
			return nil, fmt.Errorf("the worker died: %w", d.crew.process.err)
		case <-ticker.C:
		}
		now := time.Now()
		if n := d.audience.rides(); n != heard {
			heard, moved = n, now
		}
		acted := true
		if act != nil {
			var err error
			if acted, err = act(now.Sub(moved)); err != nil {
				return nil, err
			}
		}
		if now.Sub(told) > news {
			told = now
			why := ""
			if now.Sub(moved) > news {
				var err error
				if why, err = d.standstill(ctx); err != nil {
					return nil, err
				}
			}
			d.say("%d of %s at an end%s", heard, report.Count(len(d.tickets), "ride"), why)
		}
		if now.Sub(glanced) < glance {
			continue
		}
		glanced = now
		quiet, err := d.quiet(ctx)
		if err != nil {
			return nil, err
		}
		if !quiet && now.Sub(stared) < stare {
			continue
		}
		stared = now
		s, err := d.look(ctx)
		if err != nil {
			return nil, err
		}
		if n := len(s.fates); n != seen {
			seen, moved = n, now
		}
		if acted && quiet && enough(s) || now.Sub(moved) > patience {
			return s, nil
		}
	}
}

// standstill says why nothing moves, where the killed workers are the reason.
func (d *demo) standstill(ctx context.Context) (string, error) {
	if d.crew.kills == 0 {
		return "", nil
	}
	hidden, visibility, err := d.mortuary.hidden(ctx)
	if err != nil || hidden == 0 {
		return "", err
	}
	return fmt.Sprintf("; hidden for up to %s after a killed worker held them: %s", visibility, report.Count(hidden, "message")), nil
}

// quiet reports whether, by the counts, every ride may be at an end, and no
// message is under way.
func (d *demo) quiet(ctx context.Context) (bool, error) {
	ended, err := d.mortuary.count(ctx)
	if err != nil {
		return false, err
	}
	left, err := d.mortuary.backlog(ctx)
	if err != nil || left > 0 {
		return false, err
	}
	ended += d.audience.rides()
	if d.cfg.Mode == worker.Saga {
		counts, err := d.sagas.Count(ctx, fare.SagaName)
		if err != nil {
			return false, err
		}
		ended += int(counts[saga.Blocked])
	}
	return ended >= len(d.tickets), nil
}
