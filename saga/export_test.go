package saga

// SetMapSize makes small Maps do for tests of large ones.
func SetMapSize[T any](s *Saga[T], inline, part int) { s.def.mapSize = mapSize{inline, part} }
