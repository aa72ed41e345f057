package main

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
)

func kind(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

func work() (map[string]any, error) {
	what, _ := RuneParam("do")
	switch what {
	case "walk":
		value, _ := RuneParam("value")
		return map[string]any{"value": value}, nil
	case "get":
		found, _ := RuneParam("path")
		path := found.([]any)
		for at, step := range path {
			if number, isNumber := step.(json.Number); isNumber {
				path[at], _ = strconv.Atoi(string(number))
			}
		}
		value, there := RuneParam(path...)
		if !there {
			return map[string]any{"type": "missing"}, nil
		}
		return map[string]any{"type": kind(value), "value": value}, nil
	case "fail":
		code, _ := RuneParam("code")
		number, _ := code.(json.Number).Int64()
		message, _ := RuneParam("message")
		failure := &RuneFailure{Code: int(number), Message: message.(string)}
		if details, there := RuneParam("details"); there {
			failure.Details = details.(map[string]any)
		}
		if retryable, there := RuneParam("retryable"); there {
			value := retryable.(bool)
			failure.Retryable = &value
		}
		return nil, failure
	case "events":
		found, _ := RuneParam("message")
		message := found.(string)
		RuneProgress(12.5, message)
		RuneLog("warning", message)
		RuneAddMetric(RuneMetric{"busbw", 412.5, "GB/s", "higher",
			map[string]string{"device": message, "kind": "a"}, []float64{411, 414}})
		RuneAddMetric(RuneMetric{Name: "latency", Value: 7, Unit: "us", Better: "lower"})
		return nil, nil
	case "left":
		left, _ := RuneLeft()
		return map[string]any{"left": left.Seconds(), "target": RuneContext("target")}, nil
	case "bytes":
		text, err := os.ReadFile("bytes")
		return map[string]any{"text": string(text)}, err
	}
	return nil, errors.New(what.(string))
}

func main() { RuneRun(work) }
