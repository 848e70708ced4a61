package actor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/denrooms/den/actor"
)

// counter adds up what it is sent, and breaks at a negative number.
type counter struct {
	life  uint64
	total int
}

func (c *counter) Start(context.Context, any) error { return nil }

func (c *counter) Receive(batch []*actor.Envelope, _ func(int) []*actor.Envelope) error {
	for _, e := range batch {
		n := e.Message.(int)
		if n < 0 {
			return errors.New("a negative number")
		}
		c.total += n
		e.Reply(fmt.Sprintf("life %d has %d", c.life, c.total), nil)
	}
	return nil
}

func (c *counter) Stop(actor.StopReason) {}
func (c *counter) Abandon()              {}

// An actor is there when it is called. When it breaks, the message is refused and the
// next one is served by a new life.
func Example() {
	system := actor.NewSystem(func(key actor.Key, life uint64) actor.Behavior {
		return &counter{life: life}
	}, actor.Options{Logger: slog.New(slog.DiscardHandler)})

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	key := actor.Key{Namespace: "counters", Room: "one"}
	for _, n := range []int{2, 3, -1, 4} {
		total, err := system.Request(ctx, key, n)
		fmt.Println(total, err)
	}
	fmt.Println(system.Awake(), system.Shutdown(ctx), system.Awake())
	// Output:
	// life 1 has 2 <nil>
	// life 1 has 5 <nil>
	// <nil> actor: unavailable: a negative number
	// life 2 has 4 <nil>
	// 1 <nil> 0
}
