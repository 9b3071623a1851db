"""In which language a text is, and when nobody may be blamed."""

from __future__ import annotations

import itertools
import time

import pytest

from reward.languages import foreign_share, language, prose

TOLERANCE = 0.25
PARCEL = {  # a question and its answer
    "english": (
        "Where is my parcel and when will it arrive?",
        "The parcel is in Leeds and will be with you on Friday.",
    ),
    "german": ("Wo ist mein Paket und wann kommt es an?", "Das Paket hat das Lager verlassen und ist am Freitag da."),
    "french": ("Où est mon colis et quand est-ce qu'il arrive ?", "Le colis est parti et sera chez vous jeudi."),
    "spanish": ("¿Dónde está mi paquete y cuándo llega?", "El paquete salió del almacén y llega el jueves."),
    "portuguese": ("Onde está meu pacote e quando ele chega?", "O pacote saiu do armazém e não chega na quinta-feira."),
    "italian": ("Dov'è il mio pacco e quando arriva?", "Il pacco è partito dal magazzino e non arriva oggi."),
    "dutch": ("Waar is mijn pakket en wanneer komt het aan?", "Het pakket is uit het magazijn vertrokken."),
    "swedish": ("Var är mitt paket och när kommer det?", "Paketet lämnade lagret och är hos dig på torsdag."),
    "polish": ("Gdzie jest moja paczka i kiedy dotrze?", "Paczka opuściła magazyn i będzie u ciebie w czwartek."),
    "turkish": ("Paketim nerede ve ne zaman gelecek?", "Paket depodan çıktı ve perşembe günü sizde olacak."),
    "indonesian": ("Di mana paket saya dan kapan tiba?", "Paket itu sudah keluar dari gudang dan akan tiba Kamis."),
    "vietnamese": ("Gói hàng của tôi ở đâu và khi nào đến?", "Gói hàng đã rời kho và sẽ đến vào thứ Năm."),
    "russian": ("Где моя посылка и когда она придёт?", "Посылка ушла со склада, вы получите её в четверг."),
    "ukrainian": ("Де моя посилка і коли вона прийде?", "Посилка вийшла зі складу і буде у вас у четвер."),
    "arabic": ("أين طردي ومتى يصل إلى هنا؟", "الطرد في الطريق وسيصل إلى باب البيت يوم الخميس."),
    "persian": ("بسته من کجا است و چه زمانی می رسد؟", "بسته از انبار خارج شده است و به شما می رسد."),
    "chinese": ("我的包裹在哪里，什么时候到？", "您的包裹星期一离开了仓库，星期四到达。"),
    "japanese": ("私の荷物はどこですか。いつ届きますか。", "荷物は月曜日に倉庫を出て、木曜日に届きます。"),
    "korean": ("제 소포는 어디에 있고 언제 도착하나요?", "소포는 월요일에 창고를 떠나 목요일에 도착합니다."),
    "greek": ("Πού είναι το δέμα μου και πότε έρχεται;", "Το δέμα έφυγε από την αποθήκη τη Δευτέρα."),
    "hebrew": ("איפה החבילה שלי ומתי היא מגיעה?", "החבילה יצאה מהמחסן ביום שני ותגיע ביום חמישי."),
    "hindi": ("मेरा पार्सल कहाँ है और कब आएगा?", "पार्सल सोमवार को गोदाम से निकला और गुरुवार को आएगा।"),
    "thai": ("พัสดุของฉันอยู่ที่ไหน", "พัสดุออกจากคลังเมื่อวันจันทร์และจะถึงวันพฤหัสบดี"),
}


@pytest.mark.parametrize("name", PARCEL)
def test_an_answer_in_the_language_of_the_question_keeps_the_rule(name: str) -> None:
    question, answer = PARCEL[name]
    assert foreign_share(question, answer) == 0
    assert language(prose(answer)) in (name, None)


def test_an_answer_in_any_other_language_breaks_it() -> None:
    missed = [
        (asked, answered)
        for asked, answered in itertools.permutations(PARCEL, 2)
        if foreign_share(PARCEL[asked][0], PARCEL[answered][1]) <= TOLERANCE
    ]
    assert not missed


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("怎么用 Python 读取 CSV 文件？", "您可以用 pandas 库的 read_csv 函数读取 CSV 文件。"),
        ("哪种编程语言最好？", "Python"),
        ("Who built the tower?", "Дмитрий Иванов"),
        ("如何打印？", "这样：\n```python\nfor line in open('file'):\n    print(line)\n```"),
        ("如何打印？", "这样：\nfor line in lines:\n    print(line.strip(), end='')"),
        ("公式是什么？", "公式是 $$E_{kinetic} = mass velocity squared half$$"),
        ("网站？", "请访问 https://example.org/help/where-is-my-parcel/status 或写信给 help.desk@example.org"),
        ("12 + 8?", "二十等于十二加八，这是一个简单的加法。"),
        ("How do you say good morning in German?", "Man sagt: Guten Morgen, das ist auch für die Kinder."),
        ("请翻译：您的包裹星期四到达。", "Your parcel arrives on Thursday, please wait."),
        ("Summarise in one sentence: El paquete salió del almacén y no llega el jueves.", "The parcel is late."),
        ("Summarise this:\n您的包裹星期一离开了仓库，星期四到达，请您耐心等待。", "The parcel is on its way to you."),
        ("東京?", "東京都庁所在地"),
    ],
)
def test_names_code_quotations_and_translations_are_no_offence(asked: str, answer: str) -> None:
    assert foreign_share(asked, answer) <= TOLERANCE


def test_a_mixed_answer_is_foreign_by_its_share() -> None:
    assert 0.3 < foreign_share("我的包裹在哪里？", "您的包裹星期一离开 and then it came back to our warehouse") < 0.7


@pytest.mark.parametrize("hostile", ["汉" * 4000, "a" * 4000, "a(" * 2000, "*a" * 2000, "`" * 4000, "@" * 4000])
def test_no_answer_takes_long_to_look_at(hostile: str) -> None:
    begun = time.process_time()
    foreign_share("Where is it?", hostile)
    assert time.process_time() - begun < 1
