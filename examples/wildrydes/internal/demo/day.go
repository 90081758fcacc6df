package demo

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// boredom is how long nothing happens before what was to happen at a certain
// point happens although that has not come.
const boredom = 2 * time.Second

// day lets the rides in, kills the worker on the way, and returns when nothing
// moves any more.
func (d *demo) day(ctx context.Context) (*standing, error) {
	var err error
	if d.tickets, err = d.door.admit(ctx, d.cfg.Rides); err != nil {
		return nil, err
	}
	holders := map[string]*ticket{} // of each fare id, the first ride
	var fresh, reused []*ticket
	for _, t := range d.tickets {
		if t.Reused {
			reused = append(reused, t)
			continue
		}
		holders[t.FareID] = t
		fresh = append(fresh, t)
	}
	d.began = time.Now()
	sent := make(chan error, 1)
	sending, stop := context.WithCancel(ctx)
	defer func() { // the sender ends before the door closes
		stop()
		if sent != nil {
			<-sent
		}
	}()
	go func() { sent <- d.door.send(sending, fresh) }()

	crashes := d.crashPoints(len(fresh))
	return d.await(ctx, d.cfg.Patience, d.settled, func(idle time.Duration) (bool, error) {
		select {
		case err := <-sent:
			if sent = nil; err != nil {
				return false, err
			}
		default:
		}
		if len(crashes) > 0 && (d.audience.rides() >= crashes[0] || idle > boredom) {
			crashes = crashes[1:]
			if err := d.crash(ctx); err != nil {
				return false, err
			}
		}
		// The app uses an id again when the ride that has it is through.
		var now []*ticket
		reused = slices.DeleteFunc(reused, func(t *ticket) bool {
			completed, failed := d.audience.of(holders[t.FareID].RideID)
			if completed || failed || idle > boredom && sent == nil {
				now = append(now, t)
				return true
			}
			return false
		})
		return sent == nil && len(crashes) == 0 && len(reused) == 0, d.door.send(ctx, now)
	})
}

// crashPoints spreads the crashes over the first three quarters of the rides:
// each is the number of rides that are at an end when it happens.
func (d *demo) crashPoints(n int) []int {
	rng := rand.New(rand.NewPCG(d.cfg.Seed, 0xdead))
	points := make([]int, d.cfg.Crashes)
	for i := range points {
		points[i] = int(float64(n) * 0.75 * (float64(i) + rng.Float64()) / float64(len(points)))
	}
	return points
}

// crash kills the worker in the middle of what it does, and starts another.
func (d *demo) crash(ctx context.Context) error {
	d.say("killing the worker (%d) with %d rides at an end", d.crew.process.cmd.Process.Pid, d.audience.rides())
	return d.crew.crash(ctx)
}
