package dlq

// recordedFailures returns the first failures, with short texts: an audit record
// has room for so much.
func recordedFailures(failures []Failure) []Failure {
	kept := make([]Failure, min(len(failures), maxKeptFailures))
	for i := range kept {
		kept[i] = failures[i]
		kept[i].Error = kept[i].Error[:min(len(kept[i].Error), maxAuditText)]
	}
	return kept
}

func filterText(f *Filter) string {
	if f == nil {
		return ""
	}
	return f.String()
}
