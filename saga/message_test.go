package saga_test

import (
	"github.com/ThreeDotsLabs/watermill/message"
)

func startMessage(body string) *message.Message { return message.NewMessage("m-1", []byte(body)) }
