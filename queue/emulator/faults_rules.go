package emulator

import (
	"encoding/binary"
	"hash/fnv"
)

// A FaultRule has something go wrong with some of the requests.
type FaultRule struct {
	// Operation and Resource say which requests: the name of an operation ("SendMessage") and that of a
	// queue or topic, in which * stands for any text and ? for any character. Empty ones are all.
	Operation, Resource string

	// Probability is the part of these requests that it happens to, from 0 to 1.
	Probability float64

	// Fault is what happens.
	Fault Fault
}

// Faults returns a hook for [Server.SetFault] that has the rules apply: to each request the first that is about
// it, and that its luck says yes to. The luck of a request depends on the seed, its operation, resource and
// number alone, so that the same requests in the same order go wrong in the same way.
func Faults(seed uint64, rules ...FaultRule) func(Request) Fault {
	rules = append([]FaultRule(nil), rules...)
	return func(r Request) Fault {
		for i, rule := range rules {
			if rule.applies(r) && luck(seed, i, r) < rule.Probability {
				return rule.Fault
			}
		}
		return Fault{}
	}
}

func (rule FaultRule) applies(r Request) bool {
	return (rule.Operation == "" || like(rule.Operation, r.Operation)) && (rule.Resource == "" || like(rule.Resource, r.Resource))
}

// luck returns a number from 0 to below 1.
func luck(seed uint64, rule int, r Request) float64 {
	h := fnv.New64a()
	var b [24]byte
	binary.LittleEndian.PutUint64(b[0:], seed)
	binary.LittleEndian.PutUint64(b[8:], uint64(rule))
	binary.LittleEndian.PutUint64(b[16:], uint64(r.Number))
	_, _ = h.Write(b[:]) // a hash takes everything
	_, _ = h.Write([]byte(r.Operation + "\x00" + r.Resource))
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

// mix spreads what differs in few bits over all: the finalizer of MurmurHash3.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
