package saga

// SetMapSize makes small Maps do for tests of large ones.
func SetMapSize[T any](s *Saga[T], inline, part int) { s.def.mapSize = mapSize{inline, part} }

// SetFoldFrom has frames left folded where so few branches or items are under way, in
// the saga's parts too.
func SetFoldFrom[T any](s *Saga[T], n int) {
	s.def.foldFrom = n
	for _, part := range s.def.parts {
		part.foldFrom = n
	}
}
