package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/queue/emulator"
	"github.com/waybill-dev/waybill/waybilltest"
)

func (a *app) devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run SQS, SNS and Redis in this process, for development",
		Long: `Run SQS, SNS and Redis in this process until it is interrupted. They take any
credentials, keep everything in memory, and are not for production. With --data,
queues and topics are in a file as well, every two seconds and at the end, and
are there again at the next start; what Redis has is not. One process can keep a
file at a time.

As on AWS, a topic delivers to a queue only if the queue's policy lets it, and
drops the message otherwise, of which AWS says nothing, and this a word on
stderr. "waybill topology apply" writes such policies.

When they are ready, one line on stdout tells their addresses; port 0 takes a
free port. With -o json the line is {"aws": URL, "redis": HOST:PORT}.`,
		Args: takes(),
	}
	awsAddr := cmd.Flags().String("aws-addr", emulator.DefaultAddr, "the `host:port` of SQS and SNS")
	redisAddr := cmd.Flags().String("redis-addr", "127.0.0.1:6379", "the `host:port` of Redis")
	data := cmd.Flags().String("data", "", "the `file` that keeps queues and topics from one start to the next")
	cmd.RunE = a.does(func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		for flag, addr := range map[string]string{"aws-addr": *awsAddr, "redis-addr": *redisAddr} {
			if err := checkAddr(addr); err != nil {
				return usagef("--%s is %q; want host:port, such as %s: %w", flag, addr, cmd.Flags().Lookup(flag).DefValue, err)
			}
		}
		stack, err := waybilltest.Open(ctx, waybilltest.Config{
			AWSAddr: *awsAddr, RedisAddr: *redisAddr, Data: *data,
			Emulator: emulator.Config{NoCooldowns: true, Logger: a.logger()},
		})
		if err != nil {
			return err
		}
		if err := a.printReady(stack); err != nil {
			return errors.Join(err, stack.Close())
		}
		select {
		case <-ctx.Done(): // being interrupted is how it ends
		case <-stack.Done():
		}
		return stack.Close()
	})
	return cmd
}

// checkAddr reports what is wrong with an address to listen on.
func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		var bad *net.AddrError
		if errors.As(err, &bad) {
			return errors.New(bad.Err)
		}
		return err
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return nil
}

// printReady writes the one line that says where the stack is.
func (a *app) printReady(stack *waybilltest.Stack) error {
	ready := struct {
		AWS   string `json:"aws"`
		Redis string `json:"redis"`
	}{stack.AWSURL, stack.RedisAddr}
	switch a.output() {
	case formatTable:
		_, err := fmt.Fprintf(a.stdout, "ready: AWS_ENDPOINT_URL=%s WAYBILL_REDIS=%s\n", ready.AWS, ready.Redis)
		return err
	case formatYAML:
		return a.printYAML(ready)
	default:
		return a.printJSON(ready, "")
	}
}
