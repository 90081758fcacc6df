package rides

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/payments"
)

var places = []string{
	"Harbour", "Old Town", "Airport", "Stadium", "Museum", "Botanic Garden", "University",
	"Market Hall", "Opera", "Lighthouse", "Observatory", "Central Station",
}

var riders = []string{
	"ada", "ben", "cleo", "dan", "eva", "finn", "gita", "hugo", "iris", "jon", "kim", "lea",
	"max", "nora", "otto", "pia", "quin", "rosa", "sam", "tess", "uma", "vic", "wes", "yara",
}

// Generate returns n rides with the failures of the mix. The same seed gives
// the same rides. A failure with a percentage happens at least once where
// there is room.
func Generate(n int, seed uint64, mix Mix) []Ride {
	rng := rand.New(rand.NewPCG(seed, 0x5747))
	list := make([]Ride, n)
	for i := range list {
		list[i] = ordinary(i+1, rng)
	}
	next := rng.Perm(n)
	for _, k := range kinds {
		count := int(math.Ceil(mix[k.name] * float64(n) / 100))
		for count > 0 && len(next) > 0 {
			// A ride whose id another has used stays as it is.
			if r := &list[next[0]]; r.Expect == "" {
				r.happen(k, list, rng)
				count--
			}
			next = next[1:]
		}
	}
	for i := range list {
		if list[i].Expect == "" {
			list[i].Expect = Completed
		}
	}
	return list
}

func ordinary(n int, rng *rand.Rand) Ride {
	from := rng.IntN(len(places))
	to := (from + 1 + rng.IntN(len(places)-1)) % len(places)
	distance := float64(5+rng.IntN(296)) / 10
	return Ride{
		RideID:     fmt.Sprintf("ride-%04d", n),
		FareID:     fmt.Sprintf("fare-%04d", n),
		CustomerID: fmt.Sprintf("%s-%03d", riders[rng.IntN(len(riders))], rng.IntN(1000)),
		From:       places[from],
		To:         places[to],
		Distance:   distance,
		FareAmount: Tariff(distance).String(),
		Card: payments.Card{
			Number: fmt.Sprintf("4000%012d", rng.Int64N(1e12)),
			Expiry: fmt.Sprintf("%02d/%d", 1+rng.IntN(12), 30+rng.IntN(5)),
			Check:  fmt.Sprintf("%03d", rng.IntN(1000)),
		},
	}
}

// happen makes something happen to a ride of the list.
func (r *Ride) happen(k kind, list []Ride, rng *rand.Rand) {
	r.Expect = k.expect
	switch {
	case k.name == twice:
		r.Copies = 2
	case k.name == reused:
		r.reuse(list, rng)
	case k.expect == DeadLettered:
		r.Damage = Damage(k.name)
	default:
		r.CustomerID += "_" + k.name
	}
}

// reuse gives the ride the fare's id of an ordinary earlier one. The first ride
// has none before it, and stays ordinary.
func (r *Ride) reuse(list []Ride, rng *rand.Rand) {
	var earlier []*Ride
	for i := range list {
		if &list[i] == r {
			break
		}
		if list[i].Expect == "" {
			earlier = append(earlier, &list[i])
		}
	}
	if len(earlier) == 0 {
		r.Expect = Completed
		return
	}
	victim := earlier[rng.IntN(len(earlier))]
	victim.Expect = Completed // nothing else happens to it
	r.FareID, r.Reused = victim.FareID, true
}
