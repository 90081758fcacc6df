package saga

import (
	"embed"
	"io/fs"
)

//go:embed schema/*.json
var schemaFiles embed.FS

// Schemas has the JSON Schemas of the messages that the package documentation
// shows, a file each: command.json and reply.json of remote steps; start.json,
// complete.json, fail.json, heartbeat.json and signal.json, which a coordinator
// takes; and notice.json of the end of an execution. waybill schema prints them.
//
// A later release may add fields, so whoever reads messages takes those that it
// does not know.
func Schemas() fs.FS {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic(err) // the name is valid
	}
	return files
}
