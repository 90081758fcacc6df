// Package waybilltest runs all that Waybill needs inside the process: SQS and
// SNS ([github.com/waybill-dev/waybill/queue/emulator]) and Redis (miniredis).
// No Docker, no account, no server to install.
//
// A test gets it in one line, and all of it ends with the test:
//
//	func TestFares(t *testing.T) {
//		stack := waybilltest.Start(t)
//		endpoints := stack.Apply(t,
//			queue.Endpoint{Name: "fares", URL: "sqs://fares", DeadLetter: "sqs://fares-dlq"})
//		publisher := stack.Publisher(t, endpoints)
//		...
//	}
//
// Any client works with it, not only Waybill's: Stack.AWS is an aws.Config,
// Stack.Redis a client of go-redis, and Stack.AWSURL and Stack.RedisAddr are the
// addresses for other processes and languages. The Redis says that it evicts
// nothing, so that redisstore.Open takes it as it takes a Redis in production.
//
// # Virtual time
//
// With [NoSockets] the stack listens nowhere: Stack.AWS and Stack.Redis reach
// it through memory. Then it runs in a bubble of testing/synctest, where hours
// of visibility timeouts, retries of sagas and retention pass in no time:
//
//	synctest.Test(t, func(t *testing.T) {
//		stack := waybilltest.Start(t, waybilltest.NoSockets())
//		...
//		time.Sleep(12 * time.Hour)
//	})
//
// # Failures
//
// Stack.Emulator takes a fault hook, which fails, delays or loses requests of
// the queues, or the answers to them; see emulator.Server.SetFault.
//
// # Limits
//
// All is kept in memory and gone with the process. The servers check no
// credentials, and by default only this machine reaches them. It is for tests,
// demonstrations and `waybill dev`, not for production.
package waybilltest
