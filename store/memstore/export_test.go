package memstore

// Remembered is how many locks are in memory, and how many requests that were
// released.
func (s *Store) Remembered() (locks, requests int) {
	for _, p := range s.partitions {
		locks += len(p.locks)
		for _, l := range p.locks {
			requests += len(l.released)
		}
	}
	return locks, requests
}
