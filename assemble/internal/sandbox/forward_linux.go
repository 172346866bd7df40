//go:build amd64 || arm64

package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// maxForwarded bounds the connections that are passed on at the same time.
const maxForwarded = 512

// A connection to a Forward is accepted outside and handed to process 1 through a
// socket pair, for only that has the network of the step. The step itself never holds
// a socket of the host.

// socketPair makes it; theirs is the child's end.
func (c *child) socketPair() (theirs, ours *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	theirs, ours = os.NewFile(uintptr(fds[0]), "forward"), os.NewFile(uintptr(fds[1]), "forward")
	c.theirs = append(c.theirs, theirs)
	return theirs, ours, nil
}

// forward accepts until the listeners are closed, which it does itself when process 1
// is gone.
func (c *child) forward(g *errgroup.Group, to []Forward, gone <-chan struct{}) error {
	if len(to) == 0 {
		return nil
	}
	conn, err := net.FileConn(c.handOver)
	if err != nil {
		return fmt.Errorf("forwarding: %w", err)
	}
	pair, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.Join(errors.New("forwarding: not a unix socket"), conn.Close())
	}
	for _, f := range to {
		g.Go(func() error {
			for {
				in, err := f.Listener.Accept()
				if err != nil {
					return nil // closed
				}
				handOver(pair, in, f.Port)
			}
		})
	}
	g.Go(func() error {
		<-gone
		for _, f := range to {
			_ = f.Listener.Close() // which ends its Accept
		}
		return pair.Close()
	})
	return nil
}

// handOver gives a connection to process 1. One that cannot be given is closed.
func handOver(pair *net.UnixConn, in net.Conn, port int) {
	defer in.Close()
	tcp, ok := in.(*net.TCPConn)
	if !ok {
		return
	}
	f, err := tcp.File()
	if err != nil {
		return
	}
	defer f.Close()
	b := binary.BigEndian.AppendUint16(nil, uint16(port))
	_, _, _ = pair.WriteMsgUnix(b, unix.UnixRights(int(f.Fd())), nil)
}

// takeOver is process 1's side: it connects what it is given to the step's ports.
func takeOver(fd uintptr) error {
	// Process 1 is short-lived as a rule and collects no garbage; this one is not.
	debug.SetGCPercent(100)
	f := os.NewFile(fd, "forward")
	conn, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("forwarding: %w", err)
	}
	pair, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("forwarding: not a unix socket")
	}
	room := make(chan struct{}, maxForwarded)
	go func() { // ends with process 1, as those that it starts
		for {
			in, port, err := take(pair)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				continue
			}
			room <- struct{}{}
			go func() {
				defer func() { <-room }()
				join(in, port)
			}()
		}
	}()
	return nil
}

// take receives one connection. Its error is io.EOF when there will be no more.
func take(pair *net.UnixConn) (in *net.TCPConn, port int, err error) {
	b, rights := make([]byte, 2), make([]byte, unix.CmsgSpace(4))
	n, nr, _, _, err := pair.ReadMsgUnix(b, rights)
	if err != nil || n == 0 {
		return nil, 0, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(rights[:nr])
	if err != nil || len(messages) != 1 || n != 2 {
		return nil, 0, errors.Join(err, unix.EBADMSG)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, 0, errors.Join(err, unix.EBADMSG)
	}
	f := os.NewFile(uintptr(fds[0]), "connection")
	conn, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, 0, err
	}
	in, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, 0, errors.Join(unix.EBADMSG, conn.Close())
	}
	return in, int(binary.BigEndian.Uint16(b)), nil
}

// join copies both ways until both ends have had enough.
func join(in *net.TCPConn, port int) {
	defer in.Close()
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return // nobody listens yet, or any more
	}
	defer conn.Close()
	out, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	var both sync.WaitGroup
	pass := func(to, from *net.TCPConn) {
		_, _ = io.Copy(to, from) // an end that is gone ends it
		_ = to.CloseWrite()
	}
	both.Go(func() { pass(out, in) })
	pass(in, out)
	both.Wait()
}
