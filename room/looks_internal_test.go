package room

import "testing"

// Whoever waits for a file has the long look into it end, and gets it then.
func TestLongLookGivesWay(t *testing.T) {
	var l looks
	key, asked := Key{Namespace: "n", Room: "r"}, make(chan struct{}, 8)
	end := l.beginLong(key, func() { asked <- struct{}{} })
	ended, got := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(got)
		l.wait(key)
		select {
		case <-ended:
		default:
			t.Error("the file was given before the end")
		}
	}()
	<-asked
	close(ended)
	end()
	<-got
}
