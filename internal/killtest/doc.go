// Package killtest runs worker processes, kills them with SIGKILL at random
// points of their work, and starts them again.
//
// A [Group] learns how far the work is from [Group.Step]: the test calls it for
// whatever it sees of the workers, such as a request at a server that it runs or
// a packet that a [Proxy] passes on. After a random number of steps a worker is
// killed right there, in the caller's goroutine, so that points between an
// effect and its answer are hit as well as any other:
//
//	g, err := killtest.New(killtest.Config{
//		Command: func() *exec.Cmd { return exec.Command(os.Args[0], "worker") },
//		Kills:   20, Every: 100, Seed: seed,
//	})
//	...
//	done := make(chan error, 1)
//	go func() { done <- g.Run(ctx) }()
//
// What must be true of the calls that the workers make, however often they die,
// a [Ledger] knows: the test's server gives it every call as it comes.
//
// Run goes on without kills once there were Config.Kills of them; a test that
// promises so many has work for its workers until [Group.Kills] says so.
//
// A worker calls [ExitWithParent] first, so that it does not outlive a test
// that was itself killed.
package killtest
