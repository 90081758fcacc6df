package redisstore

// SHA is the name under which the server knows a script.
func (s *Store) SHA(script string) string { return (*s.scripts.byName()[script]).sha }
