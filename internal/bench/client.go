package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// client sends requests over kept-alive connections with as little work as it
// can: it shares the cores with the server that it measures, and http.Client
// takes longer for a request than the server does.
type client struct {
	address string
	mutex   sync.Mutex
	idle    []*connection
}

// connection is one kept-alive connection.
type connection struct {
	net.Conn
	reader *bufio.Reader
	buffer []byte
}

// do sends a request and reads the answer, which has to be a 200.
func (c *client) do(method, path string, body []byte) error {
	conn, err := c.take()
	if err != nil {
		return err
	}
	b := append(conn.buffer[:0], method...)
	b = append(append(append(b, ' '), path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, c.address...), "\r\n"...)
	if body != nil {
		b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n"...)
	}
	conn.buffer = append(append(b, "\r\n"...), body...)
	if err := conn.exchange(method, path); err != nil {
		return errors.Join(err, conn.Close())
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.idle = append(c.idle, conn)
	return nil
}

// exchange sends what is in the buffer and reads the answer.
func (c *connection) exchange(method, path string) error {
	if _, err := c.Write(c.buffer); err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, answer.Status)
	}
	return nil
}

// take is an idle connection or a new one.
func (c *client) take() (*connection, error) {
	c.mutex.Lock()
	if n := len(c.idle); n > 0 {
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mutex.Unlock()
		return conn, nil
	}
	c.mutex.Unlock()
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, reader: bufio.NewReader(conn)}, nil
}

func (c *client) close() {
	for _, conn := range c.idle {
		_ = conn.Close()
	}
}
