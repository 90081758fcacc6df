// Package waybilltest gives a test, a demo or a laptop all that Waybill needs, in
// one process: SQS and SNS from package queue/emulator, and a Redis.
//
// In a test it takes one line:
//
//	func TestFares(t *testing.T) {
//		stack := waybilltest.Start(t)
//		...
//	}
//
// stack.AWS configures the SDK's clients, and Waybill's publishers and
// subscribers; stack.Store keeps executions; stack.Redis is a client for whatever
// else the test looks at. Everything ends with the test.
//
// Both listen on the loopback interface, on free ports, so that processes which
// the test starts can use them too; stack.AWSURL and stack.RedisAddr say where.
//
// The Redis is github.com/alicebob/miniredis: it runs Waybill's scripts as Redis
// does, and it is not Redis. It keeps nothing when the process ends and has one
// lock for everything. Nothing here is for production.
package waybilltest
