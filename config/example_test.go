package config_test

import (
	"fmt"
	"log"

	"github.com/waybill-dev/waybill/config"
)

func Example() {
	cfg, err := config.Load(
		config.WithEnviron([]string{"WAYBILL_NAMESPACE=dev", "WAYBILL_REDIS=redis://:secret@redis.internal/1"}),
		config.WithValue("endpoints.fares.url", "sqs://fares"),
		config.WithFlag("--namespace", "namespace", "staging"),
	)
	if err != nil {
		log.Fatal(err)
	}
	endpoints, err := cfg.Endpoints()
	if err != nil {
		log.Fatal(err)
	}
	fares, err := endpoints.Resolve("fares")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(fares.URL)
	for _, v := range cfg.Values()[1:7] {
		fmt.Printf("%-16s %-20s %s\n", v.Key, v.Value, v.Source)
	}
	// Output:
	// sqs://staging-fares
	// namespace        staging              flag --namespace
	// aws.endpoint_url                      default
	// aws.region                            default
	// redis.addr       redis.internal:6379  env WAYBILL_REDIS
	// redis.username                        default
	// redis.password   ***                  env WAYBILL_REDIS
}
