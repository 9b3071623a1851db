"""Translation between English and Chinese, both ways: sentences composed from a small grammar with one right answer.

A fifth of all sentences and of all ways to ask is held out, so a test sentence is a combination that training never
showed.
"""

from __future__ import annotations

import random

from lm.starter import worlds
from lm.starter.question import LEADS, Question, ask
from lm.starter.worlds import Split

# fmt: off
PEOPLE = (
    ("I", "我"), ("You", "你"), ("We", "我们"), ("They", "他们"),
    ("He", "他"), ("She", "她"), ("My friend", "我的朋友"), ("My mother", "我的妈妈"), ("My father", "我的爸爸"),
    ("My teacher", "我的老师"), ("The doctor", "医生"), ("The student", "学生"),
)
_PLURAL = {"I", "You", "We", "They"}
# singular, plural, Chinese, measure word
THINGS = (
    ("book", "books", "书", "本"), ("cat", "cats", "猫", "只"), ("dog", "dogs", "狗", "只"),
    ("bird", "birds", "鸟", "只"), ("chair", "chairs", "椅子", "把"), ("table", "tables", "桌子", "张"),
    ("apple", "apples", "苹果", "个"), ("car", "cars", "车", "辆"), ("flower", "flowers", "花", "朵"),
    ("pen", "pens", "笔", "支"), ("cup", "cups", "杯子", "个"), ("shirt", "shirts", "衬衫", "件"),
    ("bag", "bags", "包", "个"), ("fish", "fish", "鱼", "条"), ("key", "keys", "钥匙", "把"),
    ("picture", "pictures", "照片", "张"), ("umbrella", "umbrellas", "雨伞", "把"), ("clock", "clocks", "钟", "个"),
)
QUALITIES = (
    ("red", "红色的"), ("black", "黑色的"), ("white", "白色的"), ("blue", "蓝色的"), ("green", "绿色的"),
    ("big", "大的"), ("small", "小的"), ("new", "新的"), ("old", "旧的"), ("beautiful", "漂亮的"),
    ("expensive", "贵的"), ("cheap", "便宜的"),
)
PREDICATES = (
    ("big", "大"), ("small", "小"), ("new", "新"), ("old", "旧"), ("beautiful", "漂亮"), ("expensive", "贵"),
    ("cheap", "便宜"), ("clean", "干净"), ("good", "好"),
)
COUNTS = (
    ("two", "两"), ("three", "三"), ("four", "四"), ("five", "五"), ("six", "六"), ("seven", "七"), ("eight", "八"),
    ("nine", "九"), ("ten", "十"),
)
# base form, third person, Chinese
VERBS = (
    ("have", "has", "有"), ("want", "wants", "想要"), ("need", "needs", "需要"), ("like", "likes", "喜欢"),
    ("buy", "buys", "买"), ("sell", "sells", "卖"), ("see", "sees", "看见"), ("find", "finds", "找到"),
)
PLACES = (
    ("school", "学校"), ("station", "车站"), ("park", "公园"), ("hospital", "医院"), ("library", "图书馆"),
    ("shop", "商店"), ("bank", "银行"), ("airport", "机场"), ("hotel", "酒店"), ("market", "市场"),
    ("museum", "博物馆"), ("kitchen", "厨房"),
)
FUTURES = (("tomorrow", "明天"), ("next week", "下个星期"), ("tonight", "今晚"), ("on Sunday", "星期天"),
           ("on Monday", "星期一"), ("this afternoon", "今天下午"))
MEALS = (
    ("drink", "drinks", "tea", "喝茶"), ("drink", "drinks", "coffee", "喝咖啡"), ("drink", "drinks", "water", "喝水"),
    ("drink", "drinks", "milk", "喝牛奶"), ("eat", "eats", "rice", "吃米饭"), ("eat", "eats", "bread", "吃面包"),
    ("eat", "eats", "noodles", "吃面条"), ("read", "reads", "the newspaper", "看报纸"),
    ("play", "plays", "football", "踢足球"), ("study", "studies", "Chinese", "学习中文"),
    ("study", "studies", "English", "学习英文"), ("write", "writes", "letters", "写信"),
)
HABITS = (("every morning", "每天早上"), ("every evening", "每天晚上"), ("every day", "每天"), ("often", "经常"))

# By the language that is asked for and the language that one asks in.
FORMS = {
    ("zh", "en"): ("Translate to Chinese: {text}", "Translate into Chinese: {text}",
                   'How do you say "{text}" in Chinese?', "In Chinese please: {text}",
                   'What is "{text}" in Chinese?', "Please translate to Chinese: {text}"),
    ("zh", "zh"): ("翻译成中文：{text}", "请把这句话翻译成中文：{text}", "{text}用中文怎么说？"),
    ("en", "en"): ("Translate to English: {text}", "Translate into English: {text}",
                   "What does {text} mean in English?", "In English please: {text}",
                   "What is {text} in English?", "Please translate to English: {text}"),
    ("en", "zh"): ("翻译成英文：{text}", "请把这句话翻译成英文：{text}", "{text}用英文怎么说？"),
}
LEADS_ZH = ("", "你好，", "请问，", "麻烦你，", "您好！", "帮帮我：")
AGAIN = {"en": ("And this: {text}", "And {text}", "Next: {text}", "Now this one: {text}", "One more: {text}"),
         "zh": ("还有：{text}", "还有这句：{text}", "下一句：{text}", "再来一句：{text}")}
LANGUAGES = {"en": "English", "zh": "Chinese"}
# fmt: on


def _verb(subject: str, base: str, third: str) -> str:
    return base if subject in _PLURAL else third


def sentence(rng: random.Random) -> tuple[str, str]:
    """An English sentence and its Chinese translation."""
    who, who_zh = rng.choice(PEOPLE)
    one, many, thing_zh, measure = rng.choice(THINGS)
    quality, quality_zh = rng.choice(QUALITIES)
    place, place_zh = rng.choice(PLACES)
    kind = rng.randrange(8)
    if kind == 0:
        base, third, verb_zh = rng.choice(VERBS)
        count, count_zh = rng.choice(COUNTS)
        return (
            f"{who} {_verb(who, base, third)} {count} {quality} {many}.",
            f"{who_zh}{verb_zh}{count_zh}{measure}{quality_zh}{thing_zh}。",
        )
    if kind == 1:
        base, third, verb_zh = rng.choice(VERBS)
        this, this_zh = rng.choice((("this", "这"), ("that", "那")))
        return (
            f"{who} {_verb(who, base, third)} {this} {quality} {one}.",
            f"{who_zh}{verb_zh}{this_zh}{measure}{quality_zh}{thing_zh}。",
        )
    if kind == 2:
        when, when_zh = rng.choice(FUTURES)
        return f"{who} will go to the {place} {when}.", f"{who_zh}{when_zh}要去{place_zh}。"
    if kind == 3:
        this, this_zh = rng.choice((("This", "这"), ("That", "那")))
        predicate, predicate_zh = rng.choice(PREDICATES)
        very, very_zh = rng.choice((("very", "很"), ("too", "太"), ("not", "不")))
        return f"{this} {one} is {very} {predicate}.", f"{this_zh}{measure}{thing_zh}{very_zh}{predicate_zh}。"
    if kind == 4:
        do, does, what, what_zh = rng.choice(MEALS)
        when, when_zh = rng.choice(HABITS)
        if when == "often":
            return f"{who} often {_verb(who, do, does)} {what}.", f"{who_zh}{when_zh}{what_zh}。"
        return f"{who} {_verb(who, do, does)} {what} {when}.", f"{who_zh}{when_zh}{what_zh}。"
    if kind == 5:
        count, count_zh = rng.choice(COUNTS)
        return (
            f"There are {count} {quality} {many} in the {place}.",
            f"{place_zh}里有{count_zh}{measure}{quality_zh}{thing_zh}。",
        )
    if kind == 6:
        return f"Where is my {quality} {one}?", f"我的{quality_zh}{thing_zh}在哪里？"
    base, third, verb_zh = rng.choice(VERBS)
    this, this_zh = rng.choice((("this", "这"), ("that", "那")))
    return f"Do you {base} {this} {quality} {one}?", f"你{verb_zh}{this_zh}{measure}{quality_zh}{thing_zh}吗？"


def question(rng: random.Random, split: Split) -> Question:
    """A sentence to translate, in either direction, and another one for the same direction."""
    into, asked_in = rng.choice((("zh", "en"), ("zh", "en"), ("zh", "zh"), ("en", "en"), ("en", "en"), ("en", "zh")))
    leads, joint = (LEADS_ZH, "") if asked_in == "zh" else (LEADS, " ")
    form = worlds.wording(rng, split, leads, FORMS[into, asked_in], "translation", joint)
    return _asked(rng, split, form, into, asked_in, _asked(rng, split, rng.choice(AGAIN[asked_in]), into, asked_in))


def _asked(
    rng: random.Random, split: Split, form: str, into: str, asked_in: str, follow_up: Question | None = None
) -> Question:
    english, chinese = worlds.draw(split, lambda: sentence(rng), "translation")
    source, target = (english, chinese) if into == "zh" else (chinese, english)
    asked = source.rstrip(".。") if rng.random() < 0.15 else source  # people leave out the full stop
    if asked_in == "zh":
        sentences: tuple[str, ...] = (f"翻译是：{target}", f"可以说：{target}")
        labels = ("原文", "译文")
    else:
        name = LANGUAGES[into]
        sentences = (f"In {name}: {target}", f"The translation is: {target}", f"You can say: {target}")
        labels = ("Sentence", f"In {name}")
    return Question(
        "translation",
        ask(form.format(text=asked)),
        target,
        sentences,
        (target,),
        "bleu",
        points=((labels[0], source), (labels[1], target)),
        language="zh" if asked_in == "zh" else "en",
        follow_up=follow_up,
    )
