package emulator

// Waiting returns how many long polls stand in line at a queue.
func (s *Server) Waiting(region, name string) int {
	q := s.lookup(queueKey{region, name})
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiters)
}
