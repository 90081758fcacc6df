package emulator

// Waiting returns how many long polls stand in line at a queue.
func (s *Server) Waiting(region, name string) int {
	q := s.lookup(queueKey{region, name})
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiters)
}

// Crowd counts n messages more as in flight at a queue, so that a test can see the limit without sending them.
func (s *Server) Crowd(region, name string, n int) {
	q := s.lookup(queueKey{region, name})
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight += n
}
